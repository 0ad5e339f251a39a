using System.Collections.Concurrent;
using System.Collections.Frozen;
using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.StorageServer.Service;

/// <summary>Which sessions may write, as the metadata servers told: a node whose session was ended must not fill tiers with blocks that nobody will refer to.</summary>
/// <remarks>
/// Kept in memory only: the metadata servers see that a storage server was started again, and tell it anew. Until they do, and for volumes of which no session
/// has ended, every session may write: what an ended one writes is garbage for the scrubber, never content of a file, because its commit is refused.
/// Thread-safe; a check takes no lock.
/// </remarks>
internal sealed class SessionFence
{
    private readonly ConcurrentDictionary<uint, Known> _volumes = new();

    /// <summary>OK; StaleEpoch when the session has ended; BadRequest when the block is not of its volume.</summary>
    public Status Check(ulong session, ulong blockId)
    {
        var volume = BlockId.VolumeOf(blockId);
        if (volume != (uint)(session >> 32))
        {
            return Status.BadRequest;
        }

        var number = (uint)session;
        return !_volumes.TryGetValue(volume, out var known) || number > known.Opened || known.Live.Contains(number) ? Status.OK : Status.StaleEpoch;
    }

    /// <summary>Takes over what a metadata server knows, unless it is older than what is known: a request may be overtaken by the one after it.</summary>
    public Status Take(in LiveSessionsRequest request)
    {
        var opened = request.Opened;
        if (Array.Exists(request.Live, number => number == 0 || number > opened))
        {
            return Status.BadRequest;
        }

        // An ended session never comes back: whoever knows of more that have ended knows more.
        var news = new Known(opened, request.Live.ToFrozenSet());
        _volumes.AddOrUpdate(request.Volume, static (_, n) => n, static (_, old, n) => n.Ended > old.Ended ? n : old, news);
        return Status.OK;
    }

    /// <summary>The volume is deleted.</summary>
    public void Forget(uint volume) => _volumes.TryRemove(volume, out _);

    private sealed record Known(uint Opened, FrozenSet<uint> Live)
    {
        public long Ended => Opened - (long)Live.Count;
    }
}
