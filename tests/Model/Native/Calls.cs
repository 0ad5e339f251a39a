using System.Runtime.InteropServices;
using static EphemeralFs.Tests.Model.Native.Constants;

namespace EphemeralFs.Tests.Model.Native;

/// <summary>
/// System calls with one convention: the result, or minus the error number. Virtual, so that self-tests can put a file
/// system with a known fault in front of a good one.
/// </summary>
public unsafe class Calls
{
    private const int ListBuffer = 64 << 10;

    /// <summary>The kernel as it is.</summary>
    public static Calls Linux { get; } = new();

    /// <summary>Whether the process may act for other users (<see cref="ActAs"/>).</summary>
    public static bool IsRoot => Libc.geteuid() == 0;

    /// <summary>Makes the calling thread create and access files as this user and group (setfsuid(2)); needs root.</summary>
    public static void ActAs(uint uid)
    {
        // Both return the previous id, and nothing about failure: asking again is the way to know (setfsuid(2)).
        _ = Libc.setfsgid(uid);
        _ = Libc.setfsuid(uid);
        if (Libc.setfsuid(uint.MaxValue) != (int)uid || Libc.setfsgid(uint.MaxValue) != (int)uid)
        {
            throw new InvalidOperationException($"cannot act as user {uid}: setfsuid(2) needs root");
        }
    }

    public virtual int Open(string path, int flags, uint mode) => (int)Result(Libc.open(ByteText.ToBytes(path), flags | O_CLOEXEC, mode));

    public virtual int OpenAt(int directory, string path, int flags, uint mode) =>
        (int)Result(Libc.openat(directory, ByteText.ToBytes(path), flags | O_CLOEXEC, mode));

    public virtual int Close(int fd) => (int)Result(Libc.close(fd));

    public virtual long Read(int fd, Span<byte> buffer)
    {
        fixed (byte* pointer = buffer)
        {
            return Result(Libc.read(fd, pointer, (nuint)buffer.Length));
        }
    }

    public virtual long ReadAt(int fd, Span<byte> buffer, long offset)
    {
        fixed (byte* pointer = buffer)
        {
            return Result(Libc.pread(fd, pointer, (nuint)buffer.Length, offset));
        }
    }

    public virtual long Write(int fd, ReadOnlySpan<byte> data)
    {
        fixed (byte* pointer = data)
        {
            return Result(Libc.write(fd, pointer, (nuint)data.Length));
        }
    }

    public virtual long WriteAt(int fd, ReadOnlySpan<byte> data, long offset)
    {
        fixed (byte* pointer = data)
        {
            return Result(Libc.pwrite(fd, pointer, (nuint)data.Length, offset));
        }
    }

    public virtual long Seek(int fd, long offset, int whence) => Result(Libc.lseek(fd, offset, whence));

    public virtual int Truncate(int fd, long length) => (int)Result(Libc.ftruncate(fd, length));

    public virtual int Truncate(string path, long length) => (int)Result(Libc.truncate(ByteText.ToBytes(path), length));

    public virtual int Allocate(int fd, int mode, long offset, long length) => (int)Result(Libc.fallocate(fd, mode, offset, length));

    public virtual long CopyFileRange(int input, ref long inputOffset, int output, ref long outputOffset, long length)
    {
        fixed (long* from = &inputOffset, to = &outputOffset)
        {
            return Result(Libc.copy_file_range(input, from, output, to, (nuint)length, 0));
        }
    }

    public virtual int Sync(int fd) => (int)Result(Libc.fsync(fd));

    public virtual int SyncData(int fd) => (int)Result(Libc.fdatasync(fd));

    public virtual int SyncFileSystem(int fd) => (int)Result(Libc.syncfs(fd));

    /// <summary>Drops clean cached pages of the file; the error number is the result of posix_fadvise(3) itself.</summary>
    public virtual int DropCache(int fd) => -Libc.posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);

    public virtual int Flock(int fd, int operation) => (int)Result(Libc.flock(fd, operation));

    public virtual int MakeDirectory(int directory, string path, uint mode) =>
        (int)Result(Libc.mkdirat(directory, ByteText.ToBytes(path), mode));

    public virtual int MakeNode(string path, uint mode, ulong device) =>
        (int)Result(Libc.mknodat(AT_FDCWD, ByteText.ToBytes(path), mode, device));

    public virtual int Unlink(int directory, string path, int flags) => (int)Result(Libc.unlinkat(directory, ByteText.ToBytes(path), flags));

    /// <summary>rename(2) when <paramref name="flags"/> is 0, renameat2(2) otherwise: programs use both.</summary>
    public virtual int Rename(string from, string to, uint flags) => (int)Result(flags == 0
        ? Libc.rename(ByteText.ToBytes(from), ByteText.ToBytes(to))
        : Libc.renameat2(AT_FDCWD, ByteText.ToBytes(from), AT_FDCWD, ByteText.ToBytes(to), flags));

    public virtual int Link(string from, string to, int flags) =>
        (int)Result(Libc.linkat(AT_FDCWD, ByteText.ToBytes(from), AT_FDCWD, ByteText.ToBytes(to), flags));

    public virtual int Symlink(string target, string path) => (int)Result(Libc.symlink(ByteText.ToBytes(target), ByteText.ToBytes(path)));

    /// <summary>The target as byte text; the error is 0 or minus the error number.</summary>
    public virtual (int Error, string Target) ReadLink(string path)
    {
        byte* buffer = stackalloc byte[4096];
        long length = Result(Libc.readlink(ByteText.ToBytes(path), buffer, 4096));
        return length < 0 ? ((int)length, "") : (0, System.Text.Encoding.Latin1.GetString(buffer, (int)length));
    }

    public virtual int Stat(int directory, string path, int flags, out FileStatus status)
    {
        RawStatx raw;
        int result = (int)Result(Libc.statx(directory, ByteText.ToBytes(path), flags, 0x7ff, &raw));
        status = result < 0 ? default : new FileStatus(raw);
        return result;
    }

    public virtual int Access(string path, int mode) => (int)Result(Libc.faccessat(AT_FDCWD, ByteText.ToBytes(path), mode, AT_EACCESS));

    public virtual int ChangeMode(string path, uint mode) => (int)Result(Libc.chmod(ByteText.ToBytes(path), mode));

    public virtual int ChangeMode(int fd, uint mode) => (int)Result(Libc.fchmod(fd, mode));

    public virtual int ChangeOwner(string path, uint uid, uint gid, int flags) =>
        (int)Result(Libc.fchownat(AT_FDCWD, ByteText.ToBytes(path), uid, gid, flags));

    public virtual int ChangeOwner(int fd, uint uid, uint gid) => (int)Result(Libc.fchown(fd, uid, gid));

    public virtual int SetTimes(string path, Time access, Time modify, int flags)
    {
        RawTimespec* times = stackalloc RawTimespec[2];
        Fill(times, access, modify);
        return (int)Result(Libc.utimensat(AT_FDCWD, ByteText.ToBytes(path), times, flags));
    }

    public virtual int SetTimes(int fd, Time access, Time modify)
    {
        RawTimespec* times = stackalloc RawTimespec[2];
        Fill(times, access, modify);
        return (int)Result(Libc.futimens(fd, times));
    }

    public virtual int SetXattr(string path, string name, ReadOnlySpan<byte> value, int flags)
    {
        fixed (byte* pointer = value)
        {
            return (int)Result(Libc.lsetxattr(ByteText.ToBytes(path), ByteText.ToBytes(name), pointer, (nuint)value.Length, flags));
        }
    }

    public virtual int SetXattr(int fd, string name, ReadOnlySpan<byte> value, int flags)
    {
        fixed (byte* pointer = value)
        {
            return (int)Result(Libc.fsetxattr(fd, ByteText.ToBytes(name), pointer, (nuint)value.Length, flags));
        }
    }

    /// <summary>The length of the value; an empty buffer asks for the length alone.</summary>
    public virtual long GetXattr(string path, string name, Span<byte> value)
    {
        fixed (byte* pointer = value)
        {
            return Result(Libc.lgetxattr(ByteText.ToBytes(path), ByteText.ToBytes(name), pointer, (nuint)value.Length));
        }
    }

    public virtual long GetXattr(int fd, string name, Span<byte> value)
    {
        fixed (byte* pointer = value)
        {
            return Result(Libc.fgetxattr(fd, ByteText.ToBytes(name), pointer, (nuint)value.Length));
        }
    }

    /// <summary>All attribute names of the file itself (symbolic links are not followed), sorted.</summary>
    public virtual (int Error, string[] Names) ListXattrs(string path)
    {
        var buffer = new byte[ListBuffer];
        fixed (byte* pointer = buffer)
        {
            long length = Result(Libc.llistxattr(ByteText.ToBytes(path), pointer, ListBuffer));
            if (length < 0)
            {
                return ((int)length, []);
            }
            var names = System.Text.Encoding.Latin1.GetString(buffer, 0, (int)length).Split('\0', StringSplitOptions.RemoveEmptyEntries);
            Array.Sort(names, StringComparer.Ordinal);
            return (0, names);
        }
    }

    public virtual int RemoveXattr(string path, string name) =>
        (int)Result(Libc.lremovexattr(ByteText.ToBytes(path), ByteText.ToBytes(name)));

    public virtual int RemoveXattr(int fd, string name) => (int)Result(Libc.fremovexattr(fd, ByteText.ToBytes(name)));

    /// <summary>One getdents64(2): entries are added to the list; the result is the bytes read, 0 at the end.</summary>
    public virtual int ReadDirectory(int fd, byte[] buffer, List<DirectoryEntry> entries)
    {
        fixed (byte* pointer = buffer)
        {
            long length = Result(Libc.getdents64(fd, pointer, (nuint)buffer.Length));
            for (long at = 0; at < length;)
            {
                byte* record = pointer + at;
                ushort recordLength = *(ushort*)(record + 16);
                string name = NameAt(record + 19);
                entries.Add(new DirectoryEntry(name, *(ulong*)record, *(long*)(record + 8), record[18]));
                at += recordLength;
            }
            return (int)length;
        }
    }

    public virtual int FileSystem(int fd, out FileSystemStatus status)
    {
        RawStatvfs raw;
        int result = (int)Result(Libc.fstatvfs(fd, &raw));
        status = new(raw.BlockSize, raw.FragmentSize, raw.Blocks, raw.BlocksFree, raw.BlocksAvailable, raw.Files, raw.FilesFree, raw.NameMax);
        return result;
    }

    /// <summary>Maps, stores through the mapping, optionally msyncs, and unmaps. A page past the end gives EFAULT here, never a SIGBUS.</summary>
    public virtual long MapWrite(int fd, long offset, ReadOnlySpan<byte> data, bool sync)
    {
        fixed (byte* pointer = data)
        {
            return Mapped(fd, offset, pointer, data.Length, PROT_READ | PROT_WRITE, sync);
        }
    }

    /// <summary>Maps, loads through the mapping, and unmaps.</summary>
    public virtual long MapRead(int fd, long offset, Span<byte> data)
    {
        fixed (byte* pointer = data)
        {
            return Mapped(fd, offset, pointer, data.Length, PROT_READ, sync: false);
        }
    }

    /// <summary>The result of a libc call, or minus errno when it is negative.</summary>
    protected static long Result(long result) => result >= 0 ? result : -Marshal.GetLastPInvokeError();

    private static string NameAt(byte* name)
    {
        int length = 0;
        while (name[length] != 0)
        {
            length++;
        }
        return System.Text.Encoding.Latin1.GetString(name, length);
    }

    private static void Fill(RawTimespec* times, Time access, Time modify)
    {
        times[0] = new RawTimespec { Seconds = access.Seconds, Nanoseconds = access.Nanoseconds };
        times[1] = new RawTimespec { Seconds = modify.Seconds, Nanoseconds = modify.Nanoseconds };
    }

    private static long Mapped(int fd, long offset, byte* data, int length, int protection, bool sync)
    {
        long start = offset & ~4095L;
        nuint mapLength = (nuint)(offset - start + length);
        byte* map = Libc.mmap(null, mapLength, protection, MAP_SHARED, fd, start);
        if ((nint)map == -1)
        {
            return -Marshal.GetLastPInvokeError();
        }
        // process_vm_* touches the pages from inside the kernel, which turns a page past the end of the file into EFAULT.
        var local = new RawIovec { Base = (nint)data, Length = (nuint)length };
        var remote = new RawIovec { Base = (nint)(map + (offset - start)), Length = (nuint)length };
        long result = Result((protection & PROT_WRITE) != 0
            ? Libc.process_vm_writev(Environment.ProcessId, &local, 1, &remote, 1, 0)
            : Libc.process_vm_readv(Environment.ProcessId, &local, 1, &remote, 1, 0));
        if (sync && result >= 0)
        {
            long synced = Result(Libc.msync(map, mapLength, MS_SYNC));
            result = synced < 0 ? synced : result;
        }
        Libc.munmap(map, mapLength);
        return result;
    }
}
