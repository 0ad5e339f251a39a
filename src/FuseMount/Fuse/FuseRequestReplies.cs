using System.Buffers;
using EphemeralFs.Core;
using EphemeralFs.Interop;

namespace EphemeralFs.FuseMount.Fuse;

// The answers. Each goes to the channel that the request came from (the kernel looks for it there only) with `unique` exactly as it came.
public sealed unsafe partial class FuseRequest
{
    private const int OutHeaderSize = 16;

    // writev(2) takes at most 1024 pieces; more than this are joined first.
    private const int MaxSegments = 64;

    private MemoryHandle[]? _pins;

    /// <summary>Success without data.</summary>
    public void ReplyOk() => ReplyError(Errno.OK);

    /// <summary>Failure, or success without data for <see cref="Errno.OK"/>.</summary>
    public void ReplyError(Errno error)
    {
        Claim();
        // The kernel leaves a request unanswered whose error is not a plain errno.
        if (error is < 0 or >= (Errno)512)
        {
            _connection.ReportFault(Opcode, Unique, $"a handler answered errno {(int)error}", null);
            error = Errno.EIO;
        }
        FuseOutHeader header;
        IoVec segment;
        segment.Base = &header;
        segment.Length = OutHeaderSize;
        Send(error, &segment, 1);
    }

    /// <summary>Success with one structure.</summary>
    public void Reply<TOut>(in TOut value)
        where TOut : unmanaged
    {
        Claim();
        fixed (TOut* data = &value)
        {
            FuseOutHeader header;
            IoVec* segments = stackalloc IoVec[2];
            segments[0].Base = &header;
            segments[0].Length = OutHeaderSize;
            segments[1].Base = data;
            segments[1].Length = (nuint)sizeof(TOut);
            Send(Errno.OK, segments, 2);
        }
    }

    /// <summary>LOOKUP, MKNOD, MKDIR, SYMLINK, LINK. Adds a reference to the node unless its id is 0.</summary>
    public void ReplyEntry(in FuseEntryOut entry) => Reply(entry);

    /// <summary>CREATE, TMPFILE.</summary>
    public void ReplyCreate(in FuseEntryOut entry, in FuseOpenOut open)
    {
        Claim();
        fixed (FuseEntryOut* first = &entry)
        fixed (FuseOpenOut* second = &open)
        {
            FuseOutHeader header;
            IoVec* segments = stackalloc IoVec[3];
            segments[0].Base = &header;
            segments[0].Length = OutHeaderSize;
            segments[1].Base = first;
            segments[1].Length = (nuint)sizeof(FuseEntryOut);
            segments[2].Base = second;
            segments[2].Length = (nuint)sizeof(FuseOpenOut);
            Send(Errno.OK, segments, 3);
        }
    }

    /// <summary>GETATTR, SETATTR.</summary>
    public void ReplyAttr(in FuseAttrOut attributes) => Reply(attributes);

    /// <summary>STATX.</summary>
    public void ReplyStatx(in FuseStatxOut statx) => Reply(statx);

    /// <summary>STATFS.</summary>
    public void ReplyStatFs(in FuseKstatfs statfs) => Reply(statfs);

    /// <summary>OPEN, OPENDIR.</summary>
    /// <param name="fh">Comes back with each operation on the open file.</param>
    /// <param name="flags">What is asked of the kernel.</param>
    /// <param name="backingId">With <see cref="FuseOpenFlags.PASSTHROUGH"/>: the id of the registered backing file.</param>
    public void ReplyOpen(ulong fh, FuseOpenFlags flags, int backingId = 0)
    {
        var open = new FuseOpenOut { Fh = fh, OpenFlags = flags, BackingId = backingId };
        Reply(open);
    }

    /// <summary>WRITE: bytes written.</summary>
    public void ReplyWrite(uint bytes)
    {
        var written = new FuseWriteOut { Size = bytes };
        Reply(written);
    }

    /// <summary>COPY_FILE_RANGE in the width of whichever of its two forms was asked. A copy above 4 GiB must be answered in parts of less.</summary>
    public void ReplyCopied(ulong bytes)
    {
        if (Opcode == FuseOpcode.COPY_FILE_RANGE_64)
        {
            var copied = new FuseCopyFileRangeOut { BytesCopied = bytes };
            Reply(copied);
        }
        else
        {
            ReplyWrite((uint)Math.Min(bytes, uint.MaxValue));
        }
    }

    /// <summary>GETXATTR, LISTXATTR asked with size 0: bytes that the value needs.</summary>
    public void ReplyXAttrSize(uint bytes)
    {
        var size = new FuseGetxattrOut { Size = bytes };
        Reply(size);
    }

    /// <summary>GETLK.</summary>
    public void ReplyLock(in FuseFileLock fileLock)
    {
        var reply = new FuseLkOut { Lock = fileLock };
        Reply(reply);
    }

    /// <summary>LSEEK: the offset found, bytes.</summary>
    public void ReplyLseek(ulong offset)
    {
        var reply = new FuseLseekOut { Offset = offset };
        Reply(reply);
    }

    /// <summary>POLL: events that are ready.</summary>
    public void ReplyPoll(uint revents)
    {
        var reply = new FusePollOut { Revents = revents };
        Reply(reply);
    }

    /// <summary>IOCTL: its result and at most <c>OutSize</c> bytes.</summary>
    public void ReplyIoctl(int result, ReadOnlySpan<byte> data)
    {
        var reply = new FuseIoctlOut { Result = result };
        ReplyData(new ReadOnlySpan<byte>(&reply, sizeof(FuseIoctlOut)), data);
    }

    /// <summary>READ, READLINK, READDIR, READDIRPLUS, xattrs: bytes as they are. The memory may be the caller's, or rented by <see cref="RentReply"/>.</summary>
    public void ReplyData(ReadOnlySpan<byte> data)
    {
        Claim();
        fixed (byte* first = data)
        {
            FuseOutHeader header;
            IoVec* segments = stackalloc IoVec[2];
            segments[0].Base = &header;
            segments[0].Length = OutHeaderSize;
            segments[1].Base = first;
            segments[1].Length = (nuint)data.Length;
            Send(Errno.OK, segments, data.IsEmpty ? 1 : 2);
        }
    }

    /// <summary>As <see cref="ReplyData(ReadOnlySpan{byte})"/>, from two places.</summary>
    public void ReplyData(ReadOnlySpan<byte> data, ReadOnlySpan<byte> more)
    {
        Claim();
        fixed (byte* first = data)
        fixed (byte* second = more)
        {
            FuseOutHeader header;
            IoVec* segments = stackalloc IoVec[3];
            segments[0].Base = &header;
            segments[0].Length = OutHeaderSize;
            segments[1].Base = first;
            segments[1].Length = (nuint)data.Length;
            segments[2].Base = second;
            segments[2].Length = (nuint)more.Length;
            Send(Errno.OK, segments, 3);
        }
    }

    /// <summary>As <see cref="ReplyData(ReadOnlySpan{byte})"/>, from many places without joining them (writev(2)).</summary>
    public void ReplyData(ReadOnlySpan<ReadOnlyMemory<byte>> data)
    {
        if (data.Length > MaxSegments)
        {
            ReplyJoined(data);
            return;
        }
        Claim();
        MemoryHandle[] pins = _pins ??= new MemoryHandle[MaxSegments];
        FuseOutHeader header;
        IoVec* segments = stackalloc IoVec[MaxSegments + 1];
        segments[0].Base = &header;
        segments[0].Length = OutHeaderSize;
        for (int i = 0; i < data.Length; i++)
        {
            pins[i] = data[i].Pin();
            segments[i + 1].Base = pins[i].Pointer;
            segments[i + 1].Length = (nuint)data[i].Length;
        }
        // The request may be somebody else's after Send, so its pins are not: they are taken along.
        _pins = null;
        Send(Errno.OK, segments, data.Length + 1);
        for (int i = 0; i < data.Length; i++)
        {
            pins[i].Dispose();
        }
    }

    private void ReplyJoined(ReadOnlySpan<ReadOnlyMemory<byte>> data)
    {
        int total = 0;
        foreach (ReadOnlyMemory<byte> piece in data)
        {
            total = checked(total + piece.Length);
        }
        byte[] joined = new byte[total];
        int at = 0;
        foreach (ReadOnlyMemory<byte> piece in data)
        {
            piece.Span.CopyTo(joined.AsSpan(at));
            at += piece.Length;
        }
        ReplyData(joined);
    }

    /// <summary>Sends segments, the first being room for the header, and ends the request.</summary>
    private void Send(Errno error, IoVec* segments, int count)
    {
        nuint total = 0;
        for (int i = 0; i < count; i++)
        {
            total += segments[i].Length;
        }
        var header = (FuseOutHeader*)segments[0].Base;
        header->Length = (uint)total;
        header->Error = -(int)error;
        header->Unique = Header.Unique;
        Errno sent = _connection.SendReply(_worker!.Channel, segments, count);
        // ENOENT: interrupted or aborted meanwhile. ENODEV, ECONNABORTED: unmounted. ECANCELED: left for the successor.
        if (sent is not (Errno.OK or Errno.ENOENT or Errno.ENODEV or Errno.ECONNABORTED or Errno.ECANCELED))
        {
            _connection.ReportFault(Opcode, Unique, $"the kernel refused the reply: {sent}", null);
        }
        Finish(error, (int)total);
    }
}
