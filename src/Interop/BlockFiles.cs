using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.Interop;

/// <summary>Size and kind of a mounted file system, statfs(2).</summary>
/// <param name="Type">Magic number, as <see cref="BlockFiles.TmpfsMagic"/>.</param>
/// <param name="TotalBytes">Size.</param>
/// <param name="AvailableBytes">What an unprivileged user may still use.</param>
public readonly record struct FileSystemSpace(long Type, long TotalBytes, long AvailableBytes);

/// <summary>
/// Files below a directory descriptor, errors as values: openat(2), pwritev(2), preadv(2), unlinkat(2), mkdirat(2), renameat(2), fstatfs(2).
/// </summary>
/// <remarks>
/// File.OpenHandle costs an fstat and a flock more than openat for each open and allocates a handle; a block is opened for each request, so it matters here.
/// Paths are relative to the directory, UTF-8, and end in NUL. Calls are repeated on EINTR and, for data, until everything is transferred.
/// </remarks>
public static unsafe partial class BlockFiles
{
    public const long TmpfsMagic = 0x01021994;
    public const long RamfsMagic = 0x858458F6;

    private const int O_RDONLY = 0;
    private const int O_WRONLY = 1;
    private const int O_CREAT = 0x40;
    private const int O_EXCL = 0x80;
    private const int O_CLOEXEC = 0x80000;
    private const uint FileAccess = 0x180; // rw-------
    private const uint DirectoryAccess = 0x1C0; // rwx------

    /// <summary>O_DIRECTORY, which differs between the architectures.</summary>
    private static readonly int s_directory = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x4000 : 0x10000;

    /// <summary>O_NOFOLLOW, likewise.</summary>
    private static readonly int s_noFollow = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x8000 : 0x20000;

    /// <summary>Opens a directory to work below. The caller owns <paramref name="directory"/> and closes it with <see cref="DeviceIo.Close"/>.</summary>
    public static Errno OpenDirectory(string path, out int directory) => DeviceIo.Open(path, s_directory, out directory);

    /// <summary>Opens a file for reading. The caller owns <paramref name="fd"/>.</summary>
    public static Errno OpenRead(int directory, ReadOnlySpan<byte> path, out int fd) => Open(directory, path, O_RDONLY, out fd);

    /// <summary>Creates a file that must not exist (EEXIST), for writing. The caller owns <paramref name="fd"/>.</summary>
    public static Errno Create(int directory, ReadOnlySpan<byte> path, out int fd) =>
        Open(directory, path, O_WRONLY | O_CREAT | O_EXCL, out fd);

    /// <summary>Writes two runs of bytes one after the other from the start of the file, in one system call as long as the medium takes all.</summary>
    public static Errno Write(int fd, ReadOnlySpan<byte> first, ReadOnlySpan<byte> second)
    {
        var total = (long)first.Length + second.Length;
        var vectors = stackalloc IoVec[2];
        fixed (byte* one = first, two = second)
        {
            for (long done = 0; done < total;)
            {
                var count = Fill(vectors, one, first.Length, two, second.Length, done);
                var n = pwritev(fd, vectors, count, done);
                if (n > 0)
                {
                    done += n;
                }
                else if (n == 0)
                {
                    return Errno.ENOSPC;
                }
                else if (LastError() is var errno && errno != Errno.EINTR)
                {
                    return errno;
                }
            }
        }

        return Errno.OK;
    }

    /// <summary>Reads into two runs one after the other; <paramref name="length"/> is less than both together only at the end of the file.</summary>
    public static Errno Read(int fd, long offset, Span<byte> first, Span<byte> second, out int length)
    {
        length = 0;
        var total = first.Length + second.Length;
        var vectors = stackalloc IoVec[2];
        fixed (byte* one = first, two = second)
        {
            while (length < total)
            {
                var count = Fill(vectors, one, first.Length, two, second.Length, length);
                var n = preadv(fd, vectors, count, offset + length);
                if (n > 0)
                {
                    length += (int)n;
                }
                else if (n == 0)
                {
                    break;
                }
                else if (LastError() is var errno && errno != Errno.EINTR)
                {
                    return errno;
                }
            }
        }

        return Errno.OK;
    }

    /// <summary>Removes a file.</summary>
    public static Errno Unlink(int directory, ReadOnlySpan<byte> path)
    {
        fixed (byte* name = path)
        {
            return unlinkat(directory, name, 0) == 0 ? Errno.OK : LastError();
        }
    }

    /// <summary>Makes a directory; one that exists is EEXIST.</summary>
    public static Errno MakeDirectory(int directory, ReadOnlySpan<byte> path)
    {
        fixed (byte* name = path)
        {
            return mkdirat(directory, name, DirectoryAccess) == 0 ? Errno.OK : LastError();
        }
    }

    /// <summary>Renames within a directory's file system.</summary>
    public static Errno Rename(int directory, ReadOnlySpan<byte> from, ReadOnlySpan<byte> to)
    {
        fixed (byte* source = from, target = to)
        {
            return renameat(directory, source, directory, target) == 0 ? Errno.OK : LastError();
        }
    }

    /// <summary>Size and kind of the file system that a descriptor is on.</summary>
    public static Errno Space(int fd, out FileSystemSpace space)
    {
        StatFs buffer;
        if (fstatfs(fd, &buffer) != 0)
        {
            space = default;
            return LastError();
        }

        space = new FileSystemSpace(
            (long)buffer.Type, (long)buffer.Blocks * (long)buffer.BlockSize, (long)buffer.Available * (long)buffer.BlockSize);
        return Errno.OK;
    }

    private static Errno Open(int directory, ReadOnlySpan<byte> path, int flags, out int fd)
    {
        fixed (byte* name = path)
        {
            do
            {
                fd = openat(directory, name, flags | O_CLOEXEC | s_noFollow, FileAccess);
            }
            while (fd < 0 && LastError() == Errno.EINTR);
        }

        return fd >= 0 ? Errno.OK : LastError();
    }

    /// <summary>What is left of the two runs after <paramref name="done"/> bytes.</summary>
    private static int Fill(IoVec* vectors, byte* first, int firstLength, byte* second, int secondLength, long done)
    {
        var count = 0;
        if (done < firstLength)
        {
            vectors[count++] = new IoVec { Base = first + done, Length = (nuint)(firstLength - done) };
        }

        var skip = Math.Max(0, done - firstLength);
        if (skip < secondLength)
        {
            vectors[count++] = new IoVec { Base = second + skip, Length = (nuint)(secondLength - skip) };
        }

        return count;
    }

    private static Errno LastError() => (Errno)Marshal.GetLastPInvokeError();

    /// <summary><c>struct statfs</c> of 64-bit Linux.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 120)]
    private struct StatFs
    {
        public nuint Type;
        public nuint BlockSize;
        public ulong Blocks;
        public ulong Free;
        public ulong Available;
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int openat(int directory, byte* path, int flags, uint mode);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint pwritev(int fd, IoVec* vectors, int count, long offset);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint preadv(int fd, IoVec* vectors, int count, long offset);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int unlinkat(int directory, byte* path, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int mkdirat(int directory, byte* path, uint mode);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int renameat(int fromDirectory, byte* from, int toDirectory, byte* to);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fstatfs(int fd, StatFs* buffer);
}
