using EphemeralFs.Client.Blocks;
using EphemeralFs.Client.Files;
using EphemeralFs.Client.Leases;
using EphemeralFs.Client.Locks;
using EphemeralFs.Client.Namespace;
using EphemeralFs.Client.Session;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client;

/// <summary>A volume as a node sees it, without knowing of a kernel: one object per mount.</summary>
public sealed class VolumeClient : IDisposable
{
    private readonly FileFlusher _flusher;
    private readonly SegmentArena _arena;
    private readonly RecallHandler _recalls;
    private readonly IKernelCache _kernel;
    private readonly RunningWork _work = new();

    /// <summary>Puts the parts together; <see cref="OpenAsync"/> opens or resumes the session.</summary>
    /// <param name="metadata">The volume's metadata server.</param>
    /// <param name="volume">Volume name.</param>
    /// <param name="node">Node name.</param>
    /// <param name="memory">The mount's memory, fresh or inherited.</param>
    /// <param name="blocks">Storage of the cluster, shared by the mounts of a node.</param>
    /// <param name="kernel">Told what to drop because of other nodes.</param>
    /// <param name="deadlineMs">Milliseconds that a request waits for a server that is gone.</param>
    /// <param name="rpc">How to connect, and the clock; null for the usual.</param>
    public VolumeClient(
        Endpoint metadata, string volume, string node, NodeMemory memory, BlockStore blocks, IKernelCache kernel, int deadlineMs = Limits.RequestDeadlineMs,
        RpcClientOptions? rpc = null)
    {
        var time = rpc?.Time ?? TimeProvider.System;
        Leases = new LeaseTable(new LeaseLog(memory), () => Math.Min(Limits.KernelLeaseMs, Session!.LeaseMs), time);
        Lost = new LostLog(memory);
        _kernel = kernel;
        Attributes = new AttributeCache(Leases, () => Session!.LeaseMs);
        Names = new KnownNames(Leases, () => Session!.LeaseMs, time);
        _recalls = new RecallHandler(this, kernel, time);
        Session = new MetadataSession(metadata, volume, node, memory, _recalls, deadlineMs, rpc) { Ended = EndSessionAsync };
        Session.Silent += DropPages;
        Grants = new GrantPool(Session, memory);
        _arena = new SegmentArena(memory);
        Session.TakenOver = granted => Grants.TakeOver(granted, _arena.InheritedReservedBytes);
        var table = new FileTable(memory, _arena);
        var layouts = new LayoutLoader(Session, table.Recalls);
        Creates = Session.Deferred = new DeferredCreates(Session, memory, table, Attributes, Names, Lost, _work, time);
        _flusher = new FileFlusher(Session, _arena, Grants, blocks, Placement, layouts, table, Creates, Lost, _work);
        var reader = new FileReader(_arena, blocks, layouts);
        var writer = new FileWriter(_arena, Grants, layouts, _flusher);
        Files = new OpenFiles(Session, table, reader, writer, _flusher, layouts, kernel.InvalidateAsync, Attributes, Creates, Lost);
        Files.Closed = new ClosedHandles(Session, table, Attributes, Files.Pages, _work, time);
        var intents = new LookupIntents();
        Opener = new FileOpener(Session, Grants, table, _flusher, Files, Attributes, Names, intents, Creates);
        Namespace = new VolumeNamespace(Session, Grants, Files, Opener, Leases, Attributes, Names, intents, Creates, kernel, time);
        Locks = new VolumeLocks(Session, memory.IsInherited);
    }

    /// <summary>The session with the metadata server.</summary>
    public MetadataSession Session { get; }

    /// <summary>Inode numbers, block numbers and quota in hand.</summary>
    public GrantPool Grants { get; }

    /// <summary>Where new blocks go.</summary>
    public Placement Placement { get; } = new();

    /// <summary>What the kernel may cache of names and attributes.</summary>
    public LeaseTable Leases { get; }

    /// <summary>What the node itself caches of attributes.</summary>
    public AttributeCache Attributes { get; }

    /// <summary>Names of which the node knows what they are.</summary>
    public KnownNames Names { get; }

    /// <summary>Files that the server has not heard of.</summary>
    public DeferredCreates Creates { get; }

    /// <summary>Open files.</summary>
    public OpenFiles Files { get; }

    /// <summary>How files come to be open.</summary>
    public FileOpener Opener { get; }

    /// <summary>Names and extended attributes.</summary>
    public VolumeNamespace Namespace { get; }

    /// <summary>Locks.</summary>
    public VolumeLocks Locks { get; }

    /// <summary>What the volume has lost of this mount.</summary>
    public LostLog Lost { get; }

    /// <summary>Raised when the server had ended the session and what belonged to it was written off: the answer that told, and what the volume lost.</summary>
    public event Action<Status, IReadOnlyList<LostFile>>? Fenced;

    /// <summary>Bytes that the write-back cache occupies, and may occupy.</summary>
    public (long Used, long Capacity) WriteBackBytes => (_arena.UsedBytes, _arena.CapacityBytes);

    /// <summary>Opens the session, or resumes the one in memory.</summary>
    public async ValueTask<Status> OpenAsync()
    {
        var status = await Session.OpenAsync();
        Files.Closed.Begin();
        return status;
    }

    /// <summary>Commits everything that is unflushed on the mount.</summary>
    public async ValueTask<Errno> SyncAsync()
    {
        var errno = await Files.FlushAllAsync();
        var sent = (await Creates.SendAllAsync()).ToErrno(); // also what was closed while the server was away
        return errno != Errno.OK ? errno : sent;
    }

    /// <summary>Commits what is unflushed and ends the session.</summary>
    /// <param name="discards">Nothing is committed any more.</param>
    public async ValueTask<Errno> CloseAsync(bool discards = false)
    {
        var errno = discards ? Errno.OK : await SyncAsync();
        Files.Closed.Dispose();
        Creates.Dispose();
        await Session.CloseAsync();
        return errno;
    }

    /// <summary>Leaves the memory as it is, for a successor if there is one; nothing here touches it any more.</summary>
    public void Dispose()
    {
        Files.Closed.Dispose();
        Creates.Dispose();
        Session.Dispose();
        _work.Stop();
    }

    /// <summary>
    /// The server has ended the session: writes off its open files with what they had not committed, and makes the kernel forget what it was told. Nothing of the
    /// session is left when it completes, so that a next one begins clean. A daemon that dies in between leaves the rest to its successor.
    /// </summary>
    private async Task EndSessionAsync(Status reason)
    {
        var told = BeginRecallOfEverything();

        // Before anything is refused: what is refused is told with its path.
        var paths = _kernel.FindPaths(Files.Table.Snapshot().Select(file => file.Ino).ToHashSet());
        Files.EndedPaths = paths;
        var ended = Files.Table.EndSession();
        Files.Closed.EndSession();
        var lost = new List<LostFile>();
        foreach (var file in ended)
        {
            file.End(bytes =>
            {
                lost.Add(new LostFile(Clock.NowNs(), file.Ino, bytes, LostReason.SessionEnded, paths.GetValueOrDefault(file.Ino, "")));
                Lost.Add(lost[^1]);
            });
        }

        Creates.EndSession(ino =>
        {
            if (lost.TrueForAll(file => file.Ino != ino))
            {
                lost.Add(new LostFile(Clock.NowNs(), ino, 0, LostReason.SessionEnded, paths.GetValueOrDefault(ino, "")));
                Lost.Add(lost[^1]);
            }
        });

        Grants.EndSession();
        Locks.EndSession();
        Session.Slots.EndSession();
        Files.Pages.Clear();
        Fenced?.Invoke(reason, lost);

        // Pages that mappings have dirtied come back to be written while they are dropped, and are refused.
        await Task.WhenAll(ended.Select(file => _kernel.InvalidateAsync(file.Ino).AsTask()));
        await _recalls.ForgetEverythingAsync(told);
    }

    /// <summary>Others may soon change what the kernel has cached of open files: from now on it asks, and hears nothing old.</summary>
    private void DropPages()
    {
        foreach (var file in Files.Table.Snapshot())
        {
            _ = _kernel.InvalidateAsync(file.Ino).AsTask();
        }
    }

    /// <summary>What the node has leased it must ask for again.</summary>
    /// <returns>Completes when answers of before have reached the kernel.</returns>
    internal Task BeginRecallOfEverything()
    {
        // Twice: see RecallHandler.
        ForgetEverything();
        var told = Leases.BeginRecallOfEverything();
        ForgetEverything();
        return told;

        void ForgetEverything()
        {
            Attributes.ForgetEverything();
            Names.ForgetEverything();
        }
    }

    internal async ValueTask GoThroughAsync(FileNode file, IKernelCache kernel)
    {
        lock (file.Lock)
        {
            file.Mode = DataMode.Through;
        }

        // The kernel first writes back what mappings have dirtied; those writes are committed as they come.
        await kernel.InvalidateAsync(file.Ino);
        await _flusher.FlushAsync(file);
    }
}
