using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Model.Leases;

/// <summary>A bug put in on purpose at the seams of the product: between server and node, node and kernel, memory and journal. This one is none.</summary>
internal class SeededFault
{
    /// <summary>The kernel uses what it was told so many times longer than it may.</summary>
    public virtual int TimeoutFactor => 1;

    /// <summary>A request that comes again does not say so.</summary>
    public virtual bool LosesResendBit => false;

    /// <summary>Acknowledged operations are meant to be lost: states need not be equal after a restart.</summary>
    public virtual bool LosesState => false;

    /// <summary>A frame that is sent: changed, answered on the way (a frame in the other direction), or dropped.</summary>
    public virtual Frame? Filter(Frame frame) => frame;

    /// <summary>Whether a notification is confirmed and not carried out.</summary>
    public virtual bool Swallows(in FuseNotification notification) => false;

    public virtual void BeforeDelivery(LeaseModel model, Frame frame)
    {
    }

    public virtual void AfterEvent(LeaseModel model)
    {
    }

    /// <summary>A new daemon takes the memory over.</summary>
    public virtual void BeforeDaemon(NodeMemory memory)
    {
    }

    /// <summary>A new server reads its directory.</summary>
    public virtual void BeforeServer(string directory)
    {
    }

    protected static bool IsCallback(Frame frame, Opcode opcode) =>
        frame.From.IsServers && frame.Header.Opcode == opcode && (frame.Header.Flags & FrameFlags.Reply) == 0;

    /// <summary>An OK of the receiver that the receiver knows nothing of.</summary>
    protected static Frame Acknowledged(Frame frame) =>
        new(frame.To, frame.From, frame.Header with { Flags = FrameFlags.Reply, Status = 0, HeadLength = 0 }, []);

    protected static ForgetRequest ForgetOf(Frame frame)
    {
        Assert.True(RpcCall.TryRead<ForgetRequest>(frame.Head, out var request));
        return request;
    }

    protected static Frame With(Frame frame, in ForgetRequest request)
    {
        var writer = new WireWriter(new byte[1024]);
        request.Write(ref writer);
        return frame with { Head = writer.Written.ToArray() };
    }
}

/// <summary>A change is answered before others have forgotten: what they are told to forget is acknowledged on the way.</summary>
internal sealed class AnswersBeforeTheAcknowledgement : SeededFault
{
    public override Frame? Filter(Frame frame) => IsCallback(frame, Opcode.Forget) ? Acknowledged(frame) : frame;
}

/// <summary>The server forgets that one of three sessions caches names and attributes.</summary>
internal sealed class SkipsASession : SeededFault
{
    private const ulong Third = 4;

    public override void AfterEvent(LeaseModel model)
    {
        foreach (var inode in model.State.Inodes.Sorted())
        {
            inode.CachedBy &= ~Third;
            if (inode.Content is Metadata.Namespace.DirectoryContent names)
            {
                names.NamesCachedBy &= ~Third;
            }
        }
    }
}

/// <summary>Of the names that an operation has changed only the first is called back: a rename leaves its new one out.</summary>
internal sealed class ForgetsTheFirstNameOnly : SeededFault
{
    public override Frame? Filter(Frame frame) =>
        IsCallback(frame, Opcode.Forget) && ForgetOf(frame) is { Names.Length: > 1 } request ? With(frame, request with { Names = request.Names[..1] }) : frame;
}

/// <summary>Of the inodes that an operation has changed the last is not called back.</summary>
internal sealed class LeavesAnInodeOut : SeededFault
{
    public override Frame? Filter(Frame frame) =>
        IsCallback(frame, Opcode.Forget) && ForgetOf(frame) is { Inodes.Length: > 0 } request ? With(frame, request with { Inodes = request.Inodes[..^1] }) : frame;
}

/// <summary>The node acknowledges before its kernel has dropped names.</summary>
internal sealed class KernelKeepsNames : SeededFault
{
    public override bool Swallows(in FuseNotification notification) => notification.Code == FuseNotifyCode.INVAL_ENTRY;
}

/// <summary>… attributes.</summary>
internal sealed class KernelKeepsAttributes : SeededFault
{
    public override bool Swallows(in FuseNotification notification) => notification.Code == FuseNotifyCode.INVAL_INODE && notification.Offset < 0;
}

/// <summary>… pages.</summary>
internal sealed class KernelKeepsPages : SeededFault
{
    public override bool Swallows(in FuseNotification notification) => notification.Code == FuseNotifyCode.INVAL_INODE && notification.Offset >= 0;
}

/// <summary>A node that is to write through has not written back what it held.</summary>
internal sealed class DoesNotWriteBack : SeededFault
{
    public override Frame? Filter(Frame frame) =>
        IsCallback(frame, Opcode.Recall) && RpcCall.TryRead<RecallRequest>(frame.Head, out var recall) && recall.Action == RecallAction.GoThrough
            ? Acknowledged(frame) : frame;
}

/// <summary>After a restart of the server nobody is told to forget what it had cached.</summary>
internal sealed class ForgetsNothingAfterARestart : SeededFault
{
    public override Frame? Filter(Frame frame) =>
        IsCallback(frame, Opcode.Forget) && ForgetOf(frame).Everything ? Acknowledged(frame) : frame;
}

/// <summary>A new daemon does not know what its predecessor had told the kernel.</summary>
internal sealed class SuccessorKnowsNothing : SeededFault
{
    public override void BeforeDaemon(NodeMemory memory) => memory.Header.LeaseHead = memory.Header.LeaseTail;
}

/// <summary>Kernels use names and attributes for longer than the server waits for a silent node.</summary>
internal sealed class TimeoutsAreTooLong : SeededFault
{
    public override int TimeoutFactor => 6;
}

/// <summary>The server does not remember what it has answered in a slot.</summary>
internal sealed class SlotsAreNotRemembered : SeededFault
{
    public override bool LosesState => true;

    public override void BeforeDelivery(LeaseModel model, Frame frame)
    {
        if (!frame.From.IsServers && frame.Header.Sequence != 0 && model.State.Sessions.TryGetValue(frame.Header.Session, out var session))
        {
            session.Slot(frame.Header.Slot).Sequence = 0;
        }
    }
}

/// <summary>A request that the kernel sends a new daemon again looks like a new one.</summary>
internal sealed class ResentLooksNew : SeededFault
{
    public override bool LosesResendBit => true;
}

/// <summary>The journal's last record is not there after a restart.</summary>
internal sealed class JournalLosesARecord : SeededFault
{
    public override bool LosesState => true;

    public override void BeforeServer(string directory)
    {
        var journal = Directory.GetFiles(Path.Combine(directory, "metadata", "volumes", "1"), "journal-*").Max()!;
        using var file = File.Open(journal, System.IO.FileMode.Open);
        file.SetLength(file.Length - 1);
    }
}

/// <summary>Another session is let in before a node has sent what it had deferred.</summary>
internal sealed class LetsInTooEarly : SeededFault
{
    public override Frame? Filter(Frame frame) => IsCallback(frame, Opcode.Forget) && ForgetOf(frame).Deferred ? Acknowledged(frame) : frame;
}

/// <summary>A new daemon does not find what its predecessor had deferred.</summary>
internal sealed class SuccessorMakesNothing : SeededFault
{
    public override void BeforeDaemon(NodeMemory memory) => memory.Creates.Clear();
}

/// <summary>A node gives grant back and uses it all the same.</summary>
internal sealed class GrantIsCountedTwice : SeededFault
{
    public override Frame? Filter(Frame frame)
    {
        if (!frame.From.IsServers && frame.Header.Opcode == Opcode.RecallGrant && frame.Head.Length > 0)
        {
            frame.From.Node.Memory.Header.UnusedGrantBytes += BitConverter.ToInt64(frame.Head);
        }

        return frame;
    }
}
