using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.Metadata;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Metadata.Service;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Tests.Model.Leases;

/// <summary>What may go wrong in a run.</summary>
[Flags]
internal enum Troubles
{
    None = 0,
    Cuts = 1,
    DaemonKills = 2,
    ServerKills = 4,
    Pauses = 8,

    /// <summary>One node is away for longer than its session lives.</summary>
    LongPause = 16,
}

/// <summary>What a run came to.</summary>
internal sealed record LeaseReport(
    ulong Seed, string? Violation, IReadOnlyCollection<string> Log, long Steps, ulong Hash, HashSet<ulong> States, long Judged, int Kills, int Cuts, int Pauses, int Recalls, int Fenced);

/// <summary>Three nodes with kernels and programs, a metadata server, and what may happen to them: one seed, one run.</summary>
internal sealed class LeaseModel : ILogger, IDisposable
{
    public static readonly Endpoint Endpoint = Endpoint.Unix("/nowhere");

    /// <summary>A call that waits for nothing but the system takes no longer, ms; troubles come on top.</summary>
    private const int CallMaxMs = 15_000;

    /// <summary>A run that is not over by then stands still, ms.</summary>
    private const int RunMaxMs = 1_800_000;

    private const ulong QuotaBytes = 160 << 20;

    private readonly string _directory;
    private readonly Troubles _troubles;
    private readonly bool _isCrowded;
    private readonly bool _isAlone;
    private readonly List<(SimulatedNode Node, Program Program)> _late = [];
    private readonly List<Program> _programs = [];
    private readonly List<SimulatedWire> _wires = [];
    private readonly List<(long FromUs, long UntilUs)> _disturbed = [];
    private readonly HashSet<ulong> _states = [];
    private readonly Actor _fate;
    private Exception? _failure;
    private Actor _serverActor;
    private MetadataService? _service;
    private byte[]? _stateAtDeath;
    private int _left = 12;
    private int _kills, _cuts, _pauses, _recalls;
    private bool _running;

    private LeaseModel(ulong seed, Troubles troubles, SeededFault fault)
    {
        (Simulation, _troubles, _isCrowded, _isAlone, Fault) = (new Simulation(seed), troubles, seed / 9 % 3 == 0, seed / 27 % 2 == 0, fault);
        Oracle = new Oracle(this);
        _fate = new Actor(Simulation, "fate");
        _serverActor = _fate;
        var root = Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath();
        _directory = Directory.CreateDirectory(Path.Combine(root, $"efs-leases-{Environment.ProcessId}-{Guid.NewGuid():N}")).FullName;
        var metadata = Directory.CreateDirectory(Path.Combine(_directory, "metadata")).FullName;
        VolumeStore.Create(Path.Combine(metadata, "volumes", "1"), new VolumeState(1, QuotaBytes, 0, Simulation.Stamp()));
        new Catalogue(Path.Combine(metadata, "catalogue")).Add(1, "v", source: 0);
        Nodes = [.. new[] { "a", "b", "c" }.Select(name => new SimulatedNode(Simulation, this, name))];
        StartServer();
    }

    public Simulation Simulation { get; }

    public SeededFault Fault { get; }

    public Oracle Oracle { get; }

    public IReadOnlyList<SimulatedNode> Nodes { get; }

    /// <summary>Calls under way.</summary>
    public List<ProgramCall> Calls { get; } = [];

    public VolumeState State => Volume.State;

    private VolumeService Volume => _service!.Volumes.Single();

    /// <summary>Runs a seed.</summary>
    public static LeaseReport Run(ulong seed, SeededFault? fault = null, Troubles? troubles = null, int calls = 14)
    {
        var before = SynchronizationContext.Current;
        using var model = new LeaseModel(seed, troubles ?? TroublesOf(seed), fault ?? new SeededFault());
        string? violation = null;
        try
        {
            model.Run(calls);
        }
        catch (Exception e)
        {
            violation = e is ViolationException ? e.Message : e.ToString();
        }
        finally
        {
            SynchronizationContext.SetSynchronizationContext(before);
        }

        return new LeaseReport(
            seed, violation, [.. model.Simulation.Log], model.Simulation.Steps, model.Simulation.Hash, model._states, model.Oracle.Judged, model._kills, model._cuts,
            model._pauses, model._recalls, model.Nodes.Count(node => node.IsFenced));
    }

    /// <summary>A third of the runs without trouble, the others with one kind or all. (In a third of each kind all programs use one file.)</summary>
    public static Troubles TroublesOf(ulong seed) => (seed % 9) switch
    {
        0 or 1 or 2 => Troubles.None,
        3 => Troubles.Cuts,
        4 => Troubles.DaemonKills,
        5 => Troubles.ServerKills,
        6 => Troubles.Pauses,
        7 => Troubles.Pauses | Troubles.LongPause,
        _ => Troubles.Cuts | Troubles.DaemonKills | Troubles.ServerKills | Troubles.Pauses,
    };

    /// <summary>Something is wrong that nobody awaits.</summary>
    public void Fail(Exception e) => _failure ??= e;

    /// <summary>A daemon connects.</summary>
    public RpcWire? Connect(SimulatedNode node)
    {
        if (_serverActor.IsDead || _service is null)
        {
            return null;
        }

        var (client, server) = SimulatedWire.Pair(Simulation, node, _serverActor, this);
        _wires.Add(client);
        new RpcPeer(server, _service, _serverActor.Time).Start("");
        return client;
    }

    /// <summary>A frame has been sent.</summary>
    public void Sent(Frame frame)
    {
        var isReply = (frame.Header.Flags & FrameFlags.Reply) != 0;
        if (frame.Header.Sequence != 0)
        {
            if (!frame.From.IsServers && !isReply)
            {
                // What is sent later than it was asked for has the number of the request that asked for it in its handle.
                var reader = new WireReader(frame.Head, copy: false);
                var unique = frame.Header.Opcode is Opcode.Create or Opcode.CreateAndCommit
                    ? CreateRequest.Read(ref reader).Handle
                    : frame.From.Node.Memory.Slots[(int)frame.Header.Slot].Unique;
                Oracle.Sent(frame.Header, frame.From.Node.Kernel.CallOf(unique));
            }
        }

        if (frame.From.IsServers && !isReply)
        {
            _recalls++;
        }
    }

    /// <summary>A frame arrives.</summary>
    public void Delivered(Frame frame)
    {
        Fault.BeforeDelivery(this, frame);
        if (frame.From.IsServers && frame.Header.Sequence != 0 && (frame.Header.Flags & FrameFlags.Reply) != 0)
        {
            Oracle.Answered(frame.Header, frame.Head);
        }
    }

    /// <summary>A process is at a place where it may be killed.</summary>
    public void MayDieNow(Actor actor)
    {
        var allowed = actor == _serverActor ? Troubles.ServerKills : Troubles.DaemonKills;
        var once = Oracle.Deferred > 0 ? 50 : 500;
        if (_running && _left > 0 && (_troubles & allowed) != 0 && !actor.IsDead && Simulation.Random.Below(once) == 0)
        {
            if (actor == _serverActor)
            {
                _left--;
                KillServer();
            }
            else if (Nodes.FirstOrDefault(node => node.Daemon.Actor == actor && node.IsReady) is { } node)
            {
                KillDaemon(node, inTheMiddle: true);
            }
        }
    }

    /// <summary>A process is dead: its connections end.</summary>
    public void Died(Actor actor)
    {
        foreach (var wire in _wires)
        {
            if (wire.Actor == actor)
            {
                wire.End();
            }
            else if (wire.Other.Actor == actor)
            {
                wire.Other.End();
            }
        }

        _wires.RemoveAll(wire => wire.Actor == actor || wire.Other.Actor == actor);
    }

    /// <summary>A call has ended.</summary>
    public void Ended(ProgramCall call, Errno errno)
    {
        var tookMs = (Simulation.NowUs - call.BeginUs) / 1000;
        if (call.Node.IsFenced || call.Node.MayBeFenced)
        {
            call.End = errno == Errno.OK && !call.Node.IsFenced ? Oracle.Tick() : long.MaxValue;
            return;
        }

        if (errno == Errno.OK)
        {
            call.End = Oracle.Tick();
        }
        else
        {
            // Grant is called back only from nodes that answer (S36).
            Oracle.Require(
                (errno == Errno.ENOSPC && _troubles != Troubles.None) || errno is Errno.ENOENT or Errno.EEXIST or Errno.ENOTEMPTY or Errno.EISDIR or Errno.ENOTDIR or Errno.EINVAL or Errno.ESTALE or Errno.EAGAIN or Errno.EPERM
                    or Errno.EDEADLK,
                $"{call.Text} failed with {errno}");
        }

        var allowedMs = CallMaxMs + _disturbed.Where(d => d.UntilUs + (CallMaxMs * 1000L) > call.BeginUs).Sum(d => ((d.UntilUs - d.FromUs) / 1000) + CallMaxMs);
        Oracle.Require(call.MayWait || tookMs <= allowedMs, $"{call.Text} took {tookMs} ms");
    }

    public void Dispose()
    {
        _service?.Dispose();
        foreach (var node in Nodes)
        {
            node.Dispose();
        }

        Directory.Delete(_directory, recursive: true);
    }

    IDisposable? ILogger.BeginScope<TState>(TState state) => null;

    bool ILogger.IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

    void ILogger.Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        Simulation.Note("server: " + formatter(state, exception));
        if (logLevel >= LogLevel.Error)
        {
            Fail(exception ?? new ViolationException("the server says: " + formatter(state, exception)));
        }
    }

    private void Run(int calls)
    {
        Simulation.AfterEvent = AfterEvent;
        // In half of the runs one node has the volume for itself at first.
        SimulatedNode[] early = _isAlone ? [Nodes[0]] : [.. Nodes];
        Array.ForEach(early, node => node.Daemon.Start());
        Until(() => early.All(node => node.IsReady));
        Oracle.Compare(State, null);
        var first = new Program(this, Nodes[0], 0, 0);
        var prepared = false;
        Simulation.After(0, Nodes[0].Kernel.Actor, async () =>
        {
            await first.PrepareAsync();
            prepared = true;
        });
        Until(() => prepared);
        _running = true;
        for (var i = 0; i < Nodes.Count * 2; i++)
        {
            var program = new Program(this, Nodes[i % Nodes.Count], i + 1, _isCrowded ? 2 * calls : calls, _isCrowded);
            _programs.Add(program);
            if (early.Contains(program.Node))
            {
                program.Start();
            }
            else
            {
                _late.Add((program.Node, program));
            }
        }

        foreach (var node in Nodes.Except(early))
        {
            Simulation.After(Simulation.Delay(30_000, 1_000_000, 8_000_000), _fate, node.Daemon.Start);
        }

        FateSoon();
        Until(() => _programs.All(program => program.IsDone));
        _running = false;
        Until(() => _service is not null && !_serverActor.IsDead && Oracle.Deferred == 0);

        // What was acknowledged is in the journal.
        KillServer();
        Until(() => _service is not null && _stateAtDeath is null);
    }

    private void Until(Func<bool> done)
    {
        var endMs = Simulation.NowMs + RunMaxMs;
        while (!done())
        {
            Oracle.Require(Simulation.NowMs < endMs && Simulation.Step(), "nothing moves any more: " + string.Join("; ", Calls.Select(call => call.Text)));
        }
    }

    private void AfterEvent()
    {
        if (_failure is { } failure)
        {
            throw failure;
        }

        if (_service is null || _serverActor.IsDead)
        {
            return;
        }

        Fault.AfterEvent(this);
        for (var i = _late.Count - 1; i >= 0; i--)
        {
            if (_late[i].Node.IsReady)
            {
                _late[i].Program.Start();
                _late.RemoveAt(i);
            }
        }

        foreach (var node in Nodes)
        {
            if (!node.IsFenced && node.Session != 0 && !State.Sessions.ContainsKey(node.Session))
            {
                Oracle.Require(node.MayBeFenced, $"the session of {node.Name} was ended, which was never away");
                node.IsFenced = true;
                Oracle.Fenced(node);
            }
        }

        Explored();
    }

    /// <summary>The state, without times and what is in flight, as one number.</summary>
    private void Explored()
    {
        var hash = new HashCode64();
        foreach (var inode in State.Inodes.Sorted())
        {
            hash.Add(inode.Ino);
            hash.Add(((ulong)inode.Attributes.Nlink << 32) | inode.Attributes.Mode);
            hash.Add(inode.CachedBy);
            hash.Add(inode.Content is DirectoryContent names ? names.NamesCachedBy : inode.Attributes.DataVersion);
            hash.Add((ulong)(inode.Extras?.OpenerCount ?? 0));
        }

        foreach (var node in Nodes)
        {
            hash.Add((ulong)node.Kernel.Pending);
            hash.Add(node.Daemon.Actor.IsDead ? 1UL : 0);
            foreach (var (place, dentry) in node.Kernel.Dentries)
            {
                hash.AddUnordered(place.Parent ^ (place.Name[0] * 7919UL) ^ (dentry.Ino << 20) ^ (dentry.UntilUs > Simulation.NowUs ? 1UL << 60 : 0));
            }

            foreach (var inode in node.Kernel.Inodes.Values)
            {
                hash.AddUnordered((inode.Ino << 8) ^ (inode.UntilUs > Simulation.NowUs ? 1UL : 0) ^ (inode.Page is null ? 0UL : 2) ^ (inode.Lock.IsFree ? 0UL : 4));
            }
        }

        _states.Add(hash.Value);
    }

    private void StartServer()
    {
        _serverActor = new Actor(Simulation, "server");
        var options = new MetadataOptions { StateDirectory = _directory, Endpoint = Endpoint, Time = _serverActor.Time, SnapshotAfterBytes = long.MaxValue };
        _service = new MetadataService(options, this);
        Volume.Applied = Applied;
        var service = _service;
        var period = TimeSpan.FromSeconds(1);
        _serverActor.Time.CreateTimer(_ => service.Tick(), null, period, period);
    }

    private void Applied(FrameHeader header)
    {
        try
        {
            Oracle.Applied(header, State);
        }
        catch (ViolationException e)
        {
            // Not through the product, which would try to mend it.
            Fail(e);
        }
    }

    private void KillServer()
    {
        Simulation.Note("the server is killed");
        _serverActor.IsDead = true;
        _kills++;
        Died(_serverActor);

        // Its last instruction may be in the middle of something: what it still does reaches nobody.
        Simulation.After(0, _fate, () =>
        {
            _stateAtDeath = Volume.Dump();
            _service!.Dispose();
            _service = null;
        });
        var outage = Simulation.Delay(300_000, 1_000_000, 3_000_000);
        Disturbed(outage);
        Simulation.After(outage, _fate, () =>
        {
            Fault.BeforeServer(_directory);
            StartServer();
            Oracle.Require(
                Fault.LosesState || _stateAtDeath!.AsSpan().SequenceEqual(Volume.Dump()), "the state after the restart is not the one before");
            _stateAtDeath = null;
        });
    }

    private void KillDaemon(SimulatedNode node, bool inTheMiddle)
    {
        _left--;
        _kills++;
        Disturbed(2_000_000);
        node.Kill(inTheMiddle);
    }

    private void Disturbed(long us) => _disturbed.Add((Simulation.NowUs, Simulation.NowUs + us));

    private void FateSoon() => Simulation.After(Simulation.Delay(600_000, 3_000_000, 10_000_000), _fate, () =>
    {
        if (_running)
        {
            Nodes[Simulation.Random.Below(Nodes.Count)].Kernel.Reclaim();
            if (_left > 0)
            {
                Strike();
            }

            FateSoon();
        }
    });

    private void Strike()
    {
        var trouble = (Troubles)(1 << Simulation.Random.Below(5));
        if ((_troubles & trouble) == 0)
        {
            return;
        }

        var node = Nodes[Simulation.Random.Below(Nodes.Count)];
        switch (trouble)
        {
            case Troubles.Cuts when _wires.Where(wire => wire.IsConnected).ToArray() is { Length: > 0 } wires:
                _left--;
                _cuts++;
                Disturbed(1_000_000);
                var cut = wires[Simulation.Random.Below(wires.Length)];
                Simulation.Note($"the connection of {cut.Node.Name} is cut");
                cut.Cut();
                _wires.Remove(cut);
                break;
            case Troubles.DaemonKills when node.IsReady && !node.Daemon.Actor.IsDead:
                KillDaemon(node, inTheMiddle: false);
                break;
            case Troubles.ServerKills when !_serverActor.IsDead && _service is not null && _stateAtDeath is null:
                _left--;
                KillServer();
                break;
            case Troubles.Pauses:
                _left--;
                _pauses++;
                Pause(node, Simulation.Delay(100_000, 1_000_000, 4_000_000));
                break;
            case Troubles.LongPause when node.IsReady && Nodes.All(other => !other.MayBeFenced):
                _pauses++;
                node.MayBeFenced = true;
                Pause(node, 24_000_000 + Simulation.Random.Below(20_000_000));
                break;
            default:
                break;
        }
    }

    private void Pause(SimulatedNode node, long us)
    {
        Simulation.Note($"{node.Name} is stopped for {us / 1000} ms");
        node.Daemon.Actor.PausedUntilUs = Math.Max(node.Daemon.Actor.PausedUntilUs, Simulation.NowUs + us); // a shorter stop does not end a longer one
        Disturbed(us);
    }

    private struct HashCode64()
    {
        private ulong _ordered = 14695981039346656037;
        private ulong _sum;

        public readonly ulong Value => _ordered ^ Scramble(_sum);

        public void Add(ulong value) => _ordered = (_ordered ^ Scramble(value)) * 1099511628211;

        public void AddUnordered(ulong value) => _sum += Scramble(value);

        private static ulong Scramble(ulong z)
        {
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            return z ^ (z >> 31);
        }
    }
}
