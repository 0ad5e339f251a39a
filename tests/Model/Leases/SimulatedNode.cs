using EphemeralFs.Client;
using EphemeralFs.Client.Blocks;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Adapter;
using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.FuseMount.Node;
using EphemeralFs.Interop;
using EphemeralFs.Rpc;

namespace EphemeralFs.Tests.Model.Leases;

/// <summary>A node: its kernel and its memory, which survive, and the daemon that serves now.</summary>
internal sealed unsafe class SimulatedNode : IDisposable
{
    private readonly Simulation _simulation;
    private readonly LeaseModel _model;
    private readonly List<SharedMemory> _memories = [];
    private FuseNegotiated? _negotiated;

    public SimulatedNode(Simulation simulation, LeaseModel model, string name)
    {
        (_simulation, _model, Name) = (simulation, model, name);
        Kernel = new SimulatedKernel(simulation, model, name);
        Kernel.OnPending = () => Daemon!.ServeSoon();
        AddMemory();
        Memory = View();
        Daemon = new SimulatedDaemon(simulation, this, model, "1");
    }

    public string Name { get; }

    public SimulatedKernel Kernel { get; }

    /// <summary>The kernel's lock of renames between directories.</summary>
    public FifoLock RenameLock { get; } = new();

    public SimulatedDaemon Daemon { get; private set; }

    /// <summary>Whether the server has ended its session.</summary>
    public bool IsFenced { get; set; }

    /// <summary>Whether it was away for so long that the server may end its session.</summary>
    public bool MayBeFenced { get; set; }

    /// <summary>Daemons so far.</summary>
    public int Daemons { get; private set; } = 1;

    /// <summary>As the daemon sees it that serves now, or the next one.</summary>
    public NodeMemory Memory { get; private set; }

    public ulong Session => Memory.Header.Session;

    /// <summary>Whether programs may begin, and troubles.</summary>
    public bool IsReady => Session != 0 && Negotiated is not null;

    public long UnusedGrantBytes => Memory.Header.UnusedGrantBytes;

    public FuseNegotiated? Negotiated
    {
        get => _negotiated;
        set => _negotiated = value;
    }

    /// <summary>kill -9, at this very instruction: what the daemon does from here on happens nowhere, and its memory is as it is now.</summary>
    public void Kill(bool inTheMiddle)
    {
        if (Daemon.Actor.IsDead)
        {
            return;
        }

        _simulation.Note($"{Name}: the daemon is killed{(inTheMiddle ? " in the middle" : "")}");
        Daemon.Actor.IsDead = true;
        _model.Died(Daemon.Actor);
        if (inTheMiddle)
        {
            var old = _memories[^1];
            AddMemory();
            new Span<byte>(old.Pointer, (int)old.Length).CopyTo(new Span<byte>(_memories[^1].Pointer, (int)old.Length));
        }

        Memory = View();

        _simulation.After(_simulation.Delay(100_000, 500_000, 2_000_000), Kernel.Actor, () =>
        {
            _model.Fault.BeforeDaemon(Memory);
            Daemon = new SimulatedDaemon(_simulation, this, _model, (++Daemons).ToString(System.Globalization.CultureInfo.InvariantCulture));
            Daemon.Start();
        });
    }

    public void Dispose() => _memories.ForEach(memory => memory.Dispose());

    private NodeMemory View() => new(_memories[^1]);

    private void AddMemory()
    {
        Assert.Equal(Errno.OK, SharedMemory.Create(Name, NodeMemory.SizeFor(4 * NodeMemory.SegmentBytes), allocate: false, out var memory));
        _memories.Add(memory!);
    }
}

/// <summary>A node daemon: all of the product from the kernel's requests to frames.</summary>
internal sealed class SimulatedDaemon(Simulation simulation, SimulatedNode node, LeaseModel model, string incarnation)
{
    private readonly Dictionary<FuseNotifyQueue, Queue<(FuseNotification Notification, TaskCompletionSource<Errno> Done)>> _queues = [];
    private SimulatedKernel.Channel? _channel;
    private FuseConnection? _connection;

    public Actor Actor { get; } = new(simulation, node.Name + "." + incarnation);

    public VolumeClient? Client { get; private set; }

    public void Start() => simulation.After(0, Actor, () => _ = StartAsync());

    /// <summary>There is one request more to read.</summary>
    public void ServeSoon() => simulation.After(simulation.Delay(30, 3_000, 100_000), Actor, () =>
    {
        if (_connection is { } connection)
        {
            _channel!.Budget = 1;
            connection.Serve();
        }
    });

    private async Task StartAsync()
    {
        try
        {
            var kernel = new KernelCache(Actor.Time);
            Client = new VolumeClient(
                LeaseModel.Endpoint, "v", node.Name, node.Memory, new BlockStore(new StorageServers(), new BlockCache(1 << 20)), kernel,
                rpc: new RpcClientOptions { Time = Actor.Time, Connect = _ => model.Connect(node) });
            kernel.IsOnItsWay = Client.Leases.IsOnItsWay;
            var handler = new VolumeFileSystemData(Client, new VirtualFiles(static () => "", static () => ""), static () => (0, 0));
            _channel = new SimulatedKernel.Channel(node.Kernel, Actor);
            var options = new FuseConnectionOptions
            {
                Flags = FuseConnectionOptions.DefaultFlags & ~FuseInitFlags.AUTO_INVAL_DATA,
                Workers = 1,
                MaxWriteBytes = 8192,
                OnFault = fault =>
                {
                    if (!Actor.IsDead)
                    {
                        model.Fail(new ViolationException($"{node.Name}: {fault.Opcode} {fault.What}: {fault.Exception}"));
                    }
                },
                TakeNotification = TakeNotification,
            };
            var inherited = node.Negotiated is { } negotiated ? FuseConnection.Resume(handler, options, negotiated, [_channel]) : null;
            kernel.Connection = inherited;
            var status = await Client.OpenAsync();
            Oracle.Require(status == Status.OK || node.MayBeFenced, $"{node.Name}: the session is refused: {status}");
            kernel.Connection = inherited ?? FuseConnection.Open(handler, options, [_channel]);
            node.Negotiated = kernel.Connection.Negotiated;
            kernel.Connection.StartWithoutReaders();
            _connection = kernel.Connection;
            for (var i = node.Kernel.Pending; i > 0; i--)
            {
                ServeSoon();
            }
        }
        catch (Exception e) when (!Actor.IsDead)
        {
            model.Fail(e);
        }
    }

    /// <summary>A queue of notifications, which the kernel takes one by one; one that waits for a lock of the kernel keeps those behind it waiting.</summary>
    private ValueTask<Errno> TakeNotification(FuseNotification notification, FuseNotifyQueue of)
    {
        var done = new TaskCompletionSource<Errno>();
        if (!_queues.TryGetValue(of, out var queue))
        {
            _queues.Add(of, queue = new());
        }

        queue.Enqueue((notification with { Name = notification.Name.ToArray() }, done));
        if (queue.Count == 1)
        {
            simulation.After(simulation.Delay(30, 3_000, 100_000), Actor, () => Notify(queue));
        }

        return new ValueTask<Errno>(done.Task);
    }

    /// <summary>The queue's thread enters the kernel, and goes on there also if the daemon is killed.</summary>
    private void Notify(Queue<(FuseNotification Notification, TaskCompletionSource<Errno> Done)> queue)
    {
        var (notification, done) = queue.Peek();
        simulation.Note($"{node.Name} notifies: {notification.Describe()}");
        simulation.After(0, node.Kernel.Actor, async () =>
        {
            var errno = model.Fault.Swallows(notification) ? Errno.OK : await node.Kernel.NotifyAsync(notification);
            simulation.After(1, Actor, () =>
            {
                queue.Dequeue();
                if (queue.Count > 0)
                {
                    simulation.After(simulation.Delay(30, 3_000, 100_000), Actor, () => Notify(queue));
                }

                done.SetResult(errno);
            });
        });
    }
}
