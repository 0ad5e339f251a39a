using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.Interop;

/// <summary>Options of one mount, whatever others of the same file system have: MOUNT_ATTR_* of mount_setattr(2).</summary>
[Flags]
public enum MountAttributes : ulong
{
    None = 0,
    ReadOnly = 1,
    NoSuid = 2,
    NoDev = 4,
    NoExec = 8,
    NoAtime = 0x10,
}

/// <summary>A mount that appears at a second place: open_tree(2), mount_setattr(2), move_mount(2), Linux 5.12.</summary>
public static unsafe partial class BindMounts
{
    private const int SYS_open_tree = 428;
    private const int SYS_move_mount = 429;
    private const int SYS_mount_setattr = 442;
    private const int AT_FDCWD = -100;
    private const uint AT_EMPTY_PATH = 0x1000;
    private const uint AT_SYMLINK_NOFOLLOW = 0x100;
    private const uint OPEN_TREE_CLONE = 1;
    private const uint OPEN_TREE_CLOEXEC = 0x80000;
    private const uint MOVE_MOUNT_F_EMPTY_PATH = 4;
    private const ulong MOUNT_ATTR__ATIME = 0x70;

    /// <summary>
    /// Mounts what is at <paramref name="source"/> at <paramref name="target"/> too. The mount has its options before anybody sees it, and neither path may
    /// end in a symbolic link.
    /// </summary>
    public static Errno Bind(string source, string target, MountAttributes attributes)
    {
        var tree = syscall(SYS_open_tree, AT_FDCWD, source, (nint)(OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW));
        if (tree < 0)
        {
            return (Errno)Marshal.GetLastPInvokeError();
        }

        try
        {
            var change = new MountAttr { Set = (ulong)attributes, Clear = (attributes & MountAttributes.NoAtime) != 0 ? MOUNT_ATTR__ATIME : 0 };
            if (attributes != MountAttributes.None
                && syscall(SYS_mount_setattr, (int)tree, "", (nint)AT_EMPTY_PATH, (nint)(&change), sizeof(MountAttr)) < 0)
            {
                return (Errno)Marshal.GetLastPInvokeError();
            }

            return syscall(SYS_move_mount, (int)tree, "", AT_FDCWD, target, (nint)MOVE_MOUNT_F_EMPTY_PATH) < 0 ? (Errno)Marshal.GetLastPInvokeError() : Errno.OK;
        }
        finally
        {
            DeviceIo.Close((int)tree);
        }
    }

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint syscall(nint number, nint directory, string path, nint flags);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint syscall(nint number, nint directory, string path, nint flags, nint attributes, nint size);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint syscall(nint number, nint directory, string path, nint toDirectory, string toPath, nint flags);

    /// <summary><c>struct mount_attr</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct MountAttr
    {
        public ulong Set;
        public ulong Clear;
        public ulong Propagation;
        public ulong UserNamespace;
    }
}
