using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Keeper;

/// <summary>What tools ask of a keeper without being its daemon: status, replacement of the daemon, the end.</summary>
public static class KeeperControl
{
    private const int ReplyMs = 10_000;

    /// <summary>The keeper at a socket.</summary>
    /// <exception cref="KeeperException">ENOENT or ECONNREFUSED when none runs; ETIMEDOUT.</exception>
    public static KeeperStatus Status(string socketPath)
    {
        using var channel = Open(socketPath);
        var deadline = Environment.TickCount64 + ReplyMs;
        return List(channel, deadline, null, out var status) is var error and not Errno.OK ? throw Failed(socketPath, error) : status!;
    }

    /// <summary>Replaces the daemon in place and waits until the new one has taken over.</summary>
    /// <param name="socketPath">The keeper's socket.</param>
    /// <param name="newCommand">Command line from now on; null or empty keeps the present one. A command that fails is taken back.</param>
    /// <param name="stopTimeout">How long the present daemon may take to stop before it is killed; null for the keeper's default.</param>
    /// <param name="timeout">How long to wait for all of it; the replacement goes on when this is over.</param>
    /// <returns>The incarnation of the new daemon.</returns>
    /// <exception cref="KeeperException">
    /// EBUSY while another replacement runs, EINVAL when the keeper starts no daemons, EIO when the new daemon did not attach (the last
    /// command line is started again), ETIMEDOUT.
    /// </exception>
    public static ulong Handover(
        string socketPath, IReadOnlyList<string>? newCommand = null, TimeSpan? stopTimeout = null, TimeSpan? timeout = null) =>
        Ask(socketPath, KeeperOpcode.Handover, KeeperFrame.PackCommand(newCommand ?? []), stopTimeout, timeout);

    /// <summary>Ends the daemon and the keeper and waits for it: SIGTERM, after <paramref name="stopTimeout"/> SIGKILL.</summary>
    /// <exception cref="KeeperException">ENOENT or ECONNREFUSED when none runs; ETIMEDOUT.</exception>
    public static void Shutdown(string socketPath, TimeSpan? stopTimeout = null, TimeSpan? timeout = null) =>
        _ = Ask(socketPath, KeeperOpcode.Shutdown, [], stopTimeout, timeout);

    /// <summary>Asks for the status on an open channel; what comes unasked goes to <paramref name="unasked"/>.</summary>
    internal static Errno List(KeeperChannel channel, long deadline, Func<KeeperMessage, Errno>? unasked, out KeeperStatus? status)
    {
        status = null;
        var id = channel.NextRequestId();
        var error = channel.Send(new KeeperFrame { Opcode = KeeperOpcode.List, RequestId = id }, [], deadline);
        var entries = new List<KeeperEntryInfo>();
        var expected = ulong.MaxValue;
        while (error == Errno.OK && (status is null || (ulong)entries.Count < expected))
        {
            error = channel.Receive(deadline, out var message);
            using (message)
            {
                if (error != Errno.OK)
                {
                    break;
                }

                if (message!.RequestId != id)
                {
                    error = unasked?.Invoke(message) ?? Errno.OK;
                }
                else if (message.Opcode == KeeperOpcode.ListReply && KeeperStatus.Unpack(message.Payload) is { } head)
                {
                    status = head;
                    expected = Math.Min(message.Argument, KeeperLimits.MaxEntries);
                }
                else if (message.Opcode == KeeperOpcode.ListItem)
                {
                    entries.Add(new KeeperEntryInfo(message.Key, (int)(uint)message.Argument, (int)(message.Argument >> 32)));
                }
                else
                {
                    error = Errno.EBADMSG;
                }
            }
        }

        status = error == Errno.OK ? status! with { Entries = entries } : null;
        return error;
    }

    private static ulong Ask(string socketPath, KeeperOpcode opcode, byte[] payload, TimeSpan? stopTimeout, TimeSpan? timeout)
    {
        using var channel = Open(socketPath);
        var stopMs = (long)(stopTimeout?.TotalMilliseconds ?? 0);
        var deadline = Environment.TickCount64 + (long)(timeout ?? TimeSpan.FromMilliseconds(KeeperLimits.MaxDeadlineMs)).TotalMilliseconds;
        var frame = new KeeperFrame
        {
            Opcode = opcode,
            RequestId = channel.NextRequestId(),
            Argument = (ulong)Math.Clamp(stopMs, 0, KeeperLimits.MaxDeadlineMs),
            Payload = payload,
        };
        var error = channel.Send(frame, [], deadline);
        KeeperMessage? reply = null;
        error = error == Errno.OK ? channel.Receive(deadline, out reply) : error;
        using (reply)
        {
            error = error == Errno.OK ? reply!.Status : error;
            return error == Errno.OK ? reply!.Argument : throw Failed(socketPath, error);
        }
    }

    private static KeeperChannel Open(string socketPath) =>
        KeeperChannel.Connect(socketPath, out var channel) is var error and not Errno.OK ? throw Failed(socketPath, error) : channel!;

    private static KeeperException Failed(string socketPath, Errno error) => new(error, error switch
    {
        Errno.ENOENT or Errno.ECONNREFUSED => $"no keeper runs at {socketPath}",
        Errno.EPERM or Errno.EACCES => $"the keeper at {socketPath} belongs to another user",
        Errno.EBUSY => $"the keeper at {socketPath} is replacing its daemon already",
        Errno.EINVAL => $"the keeper at {socketPath} starts no daemons: give it a command line",
        Errno.EIO => "the new daemon did not start; the keeper went back to the last command line",
        Errno.ETIMEDOUT => $"the keeper at {socketPath} did not answer in time",
        _ => $"the keeper at {socketPath} answered {error}",
    });
}
