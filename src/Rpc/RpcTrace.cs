using EphemeralFs.Core;

namespace EphemeralFs.Rpc;

/// <summary>What the wire tells when asked: frames with <c>EPHEMERALFS_TRACE=rpc</c>, and always what a peer did wrong.</summary>
public static class RpcTrace
{
    // Whoever sends garbage may send much of it, and what fails once fails often.
    private static readonly Rarely s_malformedRarely = new();
    private static readonly Rarely s_failedRarely = new();

    private static long s_malformedFrames;

    /// <summary>Frames that were none, since the process started; each ended its connection.</summary>
    public static long MalformedFrames => Volatile.Read(ref s_malformedFrames);

    /// <summary>Whether frames are traced.</summary>
    public static readonly bool Enabled =
        Environment.GetEnvironmentVariable("EPHEMERALFS_TRACE")?.Split(',').Contains("rpc", StringComparer.Ordinal) == true;

    /// <summary>Where lines go; standard error until the role sets its logger.</summary>
    public static Action<string> Sink { get; set; } = Console.Error.WriteLine;

    internal static void Frame(RpcPeer peer, in FrameHeader h, bool sending)
    {
        if (!Enabled)
        {
            return;
        }

        var status = (h.Flags & FrameFlags.Reply) != 0 ? $" = {(Status)h.Status}" : "";
        Sink($"rpc {(sending ? "->" : "<-")} {h.Opcode} id={h.RequestId} session={h.Session:x} epoch={h.Epoch} slot={h.Slot}/{h.Sequence} head={h.HeadLength} body={h.BodyLength}{status}");
    }

    internal static void Malformed(in FrameHeader h)
    {
        var count = Interlocked.Increment(ref s_malformedFrames);
        if (s_malformedRarely.MaySay(out _))
        {
            Sink($"rpc: malformed frame (magic {h.Magic:x8}, version {h.Version}, head {h.HeadLength}, body {h.BodyLength}): the connection is closed; {count} so far");
        }
    }

    /// <summary>A program hears EIO, which does not say why.</summary>
    public static void Failed(Opcode opcode, Status status, string of)
    {
        if (s_failedRarely.MaySay(out var unsaid))
        {
            Sink($"rpc: {opcode} of {of} failed: {status}; {unsaid} more since the last such line");
        }
    }

    internal static void HandlerFailed(in FrameHeader h, Exception exception) =>
        Sink($"rpc: {h.Opcode} failed, answered {Status.Internal}: {exception}");
}
