using System.Collections.Concurrent;
using System.Text;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Unit.Fuse;

/// <summary>A handler whose behaviour is told by names and node ids of the requests.</summary>
internal sealed class RecordingHandler : FuseHandler
{
    /// <summary>READ is kept here until the test takes it.</summary>
    public BlockingCollection<FuseRequest> Kept { get; } = [];

    public (string Name, string Value, uint Flags) LastXAttr { get; private set; }

    public bool? Resumed { get; private set; }

    public int Forgotten { get; private set; }

    /// <summary>Whether WRITE touches every byte that it was given and READ is answered at once.</summary>
    public bool AnswerAll { get; init; }

    public override void Initialized(FuseNegotiated negotiated, bool resumed) => Resumed = resumed;

    public override void Lookup(FuseRequest request)
    {
        switch (Encoding.UTF8.GetString(request.Name))
        {
            case "throws":
                throw new InvalidOperationException("on purpose");
            case "throws-later":
                request.Run(0, static async (_, _) =>
                {
                    await Task.Yield();
                    throw new InvalidOperationException("on purpose, later");
                });
                break;
            case "forgets-to-answer":
                request.Run(0, static async (_, _) => await Task.Yield());
                break;
            case "twice":
                request.ReplyError(Errno.ENOENT);
                request.ReplyError(Errno.ENOENT);
                break;
            case "odd-errno":
                request.ReplyError((Errno)1000);
                break;
            default:
                request.ReplyEntry(new FuseEntryOut { NodeId = 42, Generation = (ulong)request.Name.Length });
                break;
        }
    }

    public override void Forget(FuseRequest request) => Forgotten += (int)request.In<FuseForgetIn>().Nlookup;

    public override void BatchForget(FuseRequest request)
    {
        foreach (FuseForgetOne one in request.Forgets)
        {
            Forgotten += (int)one.Nlookup;
        }
    }

    public override void GetAttr(FuseRequest request) => request.ReplyAttr(new FuseAttrOut { AttrValid = 7 });

    public override void SetXAttr(FuseRequest request)
    {
        FuseSetxattrIn input = request.In<FuseSetxattrIn>();
        LastXAttr = (Encoding.UTF8.GetString(request.Name), Convert.ToHexString(request.Payload), input.SetxattrFlags);
        request.ReplyOk();
    }

    public override void Read(FuseRequest request)
    {
        if (AnswerAll)
        {
            int size = (int)Math.Min(request.In<FuseReadIn>().Size, 4096);
            Memory<byte> data = request.RentReply(size);
            request.ReplyData(data.Span);
        }
        else
        {
            Kept.Add(request);
        }
    }

    public override void Write(FuseRequest request)
    {
        uint sum = 0;
        foreach (byte b in request.PayloadMemory.Span)
        {
            sum += b;
        }
        request.ReplyWrite(request.NodeId == 99 ? sum : (uint)request.Payload.Length);
    }

    public override void Rename(FuseRequest request) =>
        request.ReplyError(request.In<FuseRename2In>().Flags == FuseRenameFlags.NOREPLACE ? Errno.EEXIST : Errno.OK);

    public override void CopyFileRange(FuseRequest request) => request.ReplyCopied(5_000_000_000);

    public override void ReadLink(FuseRequest request) => request.ReplyData("tar"u8, "get"u8);

    public override void ListXAttr(FuseRequest request)
    {
        var pieces = new ReadOnlyMemory<byte>[Math.Min(request.NodeId, 1000)];
        Array.Fill(pieces, new byte[] { 1, 2, 3 });
        request.ReplyData(pieces);
    }
}
