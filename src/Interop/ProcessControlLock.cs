using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using EphemeralFs.Core;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Interop;

/// <summary>"Only one instance": an exclusive <c>flock(2)</c> on a file that holds the owner's process id and goes when the owner goes.</summary>
/// <remarks>The kernel drops the lock when the process dies, however it dies. The file is removed by <see cref="Dispose"/>.</remarks>
public sealed partial class ProcessControlLock : IDisposable
{
    private const int LOCK_EX = 2;
    private const int LOCK_NB = 4;
    private const int O_RDWR = 2;
    private const int O_CREAT = 0x40;
    private const uint OwnerOnly = 0x180; // 0600
    private const int Attempts = 16;

    private readonly SafeFileHandle _handle;

    private ProcessControlLock(SafeFileHandle handle, string path)
    {
        _handle = handle;
        Path = path;
    }

    /// <summary>The lock file.</summary>
    public string Path { get; }

    /// <summary>Takes the lock without waiting.</summary>
    /// <param name="path">The lock file; created with mode 0600 when missing.</param>
    /// <param name="taken">The lock when the result is OK.</param>
    /// <param name="ownerPid">The process id that the present owner wrote, 0 when unknown; meaningful with EAGAIN.</param>
    /// <returns>EAGAIN when somebody else has it; else what <c>open(2)</c> says.</returns>
    public static Errno TryTake(string path, out ProcessControlLock? taken, out int ownerPid)
    {
        taken = null;
        ownerPid = 0;
        for (var attempt = 0; attempt < Attempts; attempt++)
        {
            // Not File.OpenHandle: it takes a flock of its own.
            var fd = UnixSocketNative.Open(path, O_RDWR | O_CREAT | UnixSocketNative.O_CLOEXEC, OwnerOnly);
            if (fd < 0)
            {
                return UnixSocketNative.LastError();
            }

            var handle = new SafeFileHandle(fd, ownsHandle: true);
            if (FLock((int)handle.DangerousGetHandle(), LOCK_EX | LOCK_NB) < 0)
            {
                var error = UnixSocketNative.LastError();
                ownerPid = ReadOwner(handle);
                handle.Dispose();
                return error;
            }

            // The last owner may have removed the file between our open and our lock: then we locked a file without a name.
            if (!IsStillNamed(handle, path))
            {
                handle.Dispose();
                continue;
            }

            _ = UnixSocketNative.FChMod(fd, OwnerOnly);
            RandomAccess.SetLength(handle, 0);
            RandomAccess.Write(handle, Encoding.ASCII.GetBytes(Environment.ProcessId.ToString(CultureInfo.InvariantCulture) + "\n"), 0);
            taken = new ProcessControlLock(handle, path);
            return Errno.OK;
        }

        return Errno.EAGAIN;
    }

    /// <summary>Removes the file, then lets the lock go (in this order, so that nobody else's file is removed).</summary>
    public void Dispose()
    {
        if (!_handle.IsClosed)
        {
            try
            {
                File.Delete(Path);
            }
            catch (DirectoryNotFoundException)
            {
                // Its directory was removed, and the file with it.
            }

            _handle.Dispose();
        }
    }

    private static bool IsStillNamed(SafeFileHandle handle, string path)
    {
        // /proc/self/fd/N resolves to the same file as the path, or carries " (deleted)".
        var target = new FileInfo($"/proc/self/fd/{handle.DangerousGetHandle()}").LinkTarget;
        return target is not null && !target.EndsWith(" (deleted)", StringComparison.Ordinal) && File.Exists(path);
    }

    private static int ReadOwner(SafeFileHandle handle)
    {
        Span<byte> text = stackalloc byte[16];
        var length = RandomAccess.Read(handle, text, 0);
        return int.TryParse(text[..length].TrimEnd((byte)'\n'), NumberStyles.None, CultureInfo.InvariantCulture, out var pid) ? pid : 0;
    }

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int FLock(int fd, int operation);
}
