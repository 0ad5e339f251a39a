using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Blocks;

/// <summary>The storage servers as the node knows them, and which of them takes the next block.</summary>
public sealed class StorageServers : IDisposable
{
    /// <summary>A tier with less room than this is passed over while another has more: blocks in flight are not counted yet.</summary>
    private const long HeadroomBytes = 32L << 20;

    /// <summary>A server that did not answer is passed over for this long, milliseconds.</summary>
    private const int SuspectMs = 3000;

    private readonly Lock _lock = new();
    private readonly Dictionary<uint, Server> _servers = [];
    private Server[] _list = [];

    /// <summary>Takes the controller's newest view.</summary>
    public void Update(IEnumerable<ServerStatus> view)
    {
        lock (_lock)
        {
            foreach (var status in view.Where(s => s.Role == ServerRole.Storage))
            {
                if (!Endpoint.TryParse(status.Endpoint, out var endpoint, out _))
                {
                    continue;
                }

                if (!_servers.TryGetValue(status.Id, out var server) || server.Client.Endpoint != endpoint)
                {
                    server?.Client.Dispose();
                    _servers[status.Id] = server = new Server(status.Id, new RpcClient(endpoint));
                }

                server.Tiers = status.Tiers;
                server.Alive = status.Alive;
            }

            _list = [.. _servers.Values];
        }
    }

    /// <summary>The connection to a server, null if it was never heard of.</summary>
    public RpcClient? Find(uint id)
    {
        lock (_lock)
        {
            return _servers.TryGetValue(id, out var server) ? server.Client : null;
        }
    }

    /// <summary>
    /// Chooses a server for a block: the best tier class that has room anywhere, and within it a server with a probability
    /// proportional to its free bytes. Servers in <paramref name="except"/> are left out. Null when none is left.
    /// </summary>
    /// <param name="except">Ids of servers.</param>
    /// <param name="wanted">The best class; after it come the slower ones, then the faster ones, each nearest first. None: the fastest is the best.</param>
    public (uint Id, RpcClient Client, TierClass Tier)? Choose(IReadOnlyCollection<uint> except, TierClass wanted = TierClass.None)
    {
        var servers = Volatile.Read(ref _list);
        var now = Environment.TickCount64;
        var usable = servers.Where(s => !except.Contains(s.Id)).ToArray();
        var healthy = usable.Where(s => s.Alive && s.SuspectUntilMs < now).ToArray();
        if (healthy.Length > 0)
        {
            usable = healthy;
        }

        foreach (var headroom in (ReadOnlySpan<long>)[HeadroomBytes, 0])
        {
            var best = TierClass.None;
            foreach (var server in usable)
            {
                foreach (var tier in server.Tiers)
                {
                    if (tier.Healthy && Free(tier) > headroom && (best == TierClass.None || Distance(tier.Tier, wanted) < Distance(best, wanted)))
                    {
                        best = tier.Tier;
                    }
                }
            }

            if (best == TierClass.None)
            {
                continue;
            }

            var weights = Array.ConvertAll(usable, s => s.Tiers.Where(t => t.Tier == best && t.Healthy).Sum(t => Math.Max(0, Free(t))));
            var point = Random.Shared.NextInt64(Math.Max(1, weights.Sum()));
            for (var i = 0; i < usable.Length; i++)
            {
                point -= weights[i];
                if (point < 0)
                {
                    return (usable[i].Id, usable[i].Client, best);
                }
            }
        }

        // The view says that all is full: the servers know better.
        var any = usable.FirstOrDefault();
        return any is null ? null : (any.Id, any.Client, TierClass.Dram);
    }

    /// <summary>Capacity and free bytes of all living servers.</summary>
    public (ulong Capacity, ulong Free) Space()
    {
        ulong capacity = 0, free = 0;
        foreach (var tier in Volatile.Read(ref _list).Where(s => s.Alive).SelectMany(s => s.Tiers).Where(t => t.Healthy))
        {
            capacity += tier.CapacityBytes;
            free += (ulong)Math.Max(0, Free(tier));
        }

        return (capacity, free);
    }

    /// <summary>A server did not answer: others are preferred for a while.</summary>
    public void Suspect(uint id)
    {
        lock (_lock)
        {
            if (_servers.TryGetValue(id, out var server))
            {
                server.SuspectUntilMs = Environment.TickCount64 + SuspectMs;
            }
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            foreach (var server in _servers.Values)
            {
                server.Client.Dispose();
            }
        }
    }

    private static int Distance(TierClass tier, TierClass wanted) => tier >= wanted ? tier - wanted : byte.MaxValue + (wanted - tier);

    private static long Free(in TierStatus tier) => (long)tier.CapacityBytes - (long)tier.UsedBytes;

    private sealed class Server(uint id, RpcClient client)
    {
        public uint Id { get; } = id;

        public RpcClient Client { get; } = client;

        public TierStatus[] Tiers { get; set; } = [];

        public bool Alive { get; set; }

        public long SuspectUntilMs { get; set; }
    }
}
