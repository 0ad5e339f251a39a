using System.Runtime.InteropServices;
using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Rows;

/// <summary>Files in one directory of the volume, seen through two mounts.</summary>
internal sealed unsafe class FileExchange : Exchange
{
    /// <summary>A program that reads a file whole does it in pieces of about this size.</summary>
    private const long RequestBytes = 1 << 20;

    private readonly NameTable _onA;
    private readonly NameTable _onB;
    private readonly NameTable _unpublished;
    private readonly NativeBuffer _out;
    private readonly NativeBuffer _in;
    private readonly long _bytes;

    public FileExchange(string directoryOnA, string directoryOnB, int names, long bytes)
    {
        _onA = new NameTable(Path.Combine(directoryOnA, "h"), names);
        _onB = new NameTable(Path.Combine(directoryOnB, "h"), names);
        _unpublished = new NameTable(Path.Combine(directoryOnA, "u"), names);
        _out = new NativeBuffer(bytes);
        _in = new NativeBuffer(bytes + 1);
        _bytes = bytes;
        Content.Fill(_out.Pointer, bytes, 0, 0);
    }

    public override long Publish(int name, ulong seed) => Write(_onA[name], seed);

    /// <summary>Writes and closes the file under a name that nobody looks for; <see cref="Show"/> gives it its name.</summary>
    public void Conceal(int name, ulong seed) => Write(_unpublished[name], seed);

    /// <summary>Renames what <see cref="Conceal"/> wrote; returns the time of the call.</summary>
    public long Show(int name)
    {
        long now = Sys.Now();
        Sys.Check(Libc.RenameAt(Libc.AT_FDCWD, _unpublished[name], Libc.AT_FDCWD, _onA[name]), "rename");
        return now;
    }

    public override long Fetch(int name)
    {
        int fd = Libc.OpenAt(Libc.AT_FDCWD, _onB[name], Libc.O_RDONLY | Libc.O_CLOEXEC, 0);
        if (fd < 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            return errno is Libc.ENOENT or Libc.ESTALE ? -1 : throw Sys.Failed("open", "on B");
        }

        long total = 0;
        nint got;
        do
        {
            got = Libc.Read(fd, _in.Pointer + total, (nuint)Math.Min(RequestBytes, _in.Bytes - total));
            total += Math.Max(got, 0);
        }
        while (got > 0 && total < _in.Bytes);

        // A handle of a file that was replaced meanwhile may answer ESTALE: a program would have to open it again, so it counts as stale content.
        bool stale = got < 0 && IsStale("read");
        return (Libc.Close(fd) < 0 && IsStale("close")) || stale ? -1 : total;
    }

    public override bool IsRight(long length, ulong seed, bool everyByte) =>
        length == _bytes
        && (everyByte ? Content.IsRight(_in.Pointer, _bytes, seed, 0) : Content.StampsAreRight(_in.Pointer, _bytes, seed, 0));

    public override void Remove(int name) => Sys.Check(Libc.UnlinkAt(Libc.AT_FDCWD, _onA[name], 0), "unlink");

    public override void Dispose()
    {
        _onA.Dispose();
        _onB.Dispose();
        _unpublished.Dispose();
        _out.Dispose();
        _in.Dispose();
    }

    private static bool IsStale(string call) => Marshal.GetLastPInvokeError() == Libc.ESTALE ? true : throw Sys.Failed(call, "on B");

    private long Write(byte* name, ulong seed)
    {
        Content.Stamp(_out.Pointer, _bytes, seed, 0);
        int fd = Sys.Check(Libc.OpenAt(Libc.AT_FDCWD, name, Libc.O_CREAT | Libc.O_TRUNC | Libc.O_WRONLY | Libc.O_CLOEXEC, 0x1b4), "open");
        Sys.WriteFully(fd, _out.Pointer, _bytes);
        long now = Sys.Now();
        Sys.Check(Libc.Close(fd), "close");
        return now;
    }
}
