using System.Runtime.InteropServices;
using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Tests.Model.Leases;

/// <summary>A frame on its way: what a seeded fault may look at, change or answer.</summary>
/// <param name="From">Who sent it.</param>
/// <param name="To">Who gets it.</param>
/// <param name="Header">Its header.</param>
/// <param name="Head">Its message.</param>
internal sealed record Frame(SimulatedWire From, SimulatedWire To, FrameHeader Header, byte[] Head);

/// <summary>One end of a connection. Frames arrive in order, each after a delay of its own, or the connection is cut and those under way are lost.</summary>
internal sealed class SimulatedWire(Simulation simulation, Actor actor, LeaseModel model) : RpcWire
{
    private readonly Queue<Frame> _arrived = new();
    private RpcPeer? _peer;
    private bool _closed;
    private bool _receiving;
    private long _lastUs;

    public Actor Actor => actor;

    public SimulatedWire Other { get; private set; } = null!;

    /// <summary>The node at either end.</summary>
    public SimulatedNode Node { get; private init; } = null!;

    public bool IsServers { get; private init; }

    public bool IsConnected => !_closed && _peer is { IsConnected: true };

    /// <summary>Two ends.</summary>
    public static (SimulatedWire Client, SimulatedWire Server) Pair(Simulation simulation, SimulatedNode node, Actor server, LeaseModel model)
    {
        var a = new SimulatedWire(simulation, node.Daemon.Actor, model) { Node = node };
        var b = new SimulatedWire(simulation, server, model) { Node = node, IsServers = true };
        (a.Other, b.Other) = (b, a);
        return (a, b);
    }

    public override void Start(RpcPeer peer, string threadName) => _peer = peer;

    public override void Send(ReadOnlySpan<byte> prefix, ReadOnlySpan<byte> body)
    {
        if (!simulation.IsOnThread() || _closed)
        {
            return;
        }

        model.MayDieNow(actor);
        if (actor.IsDead)
        {
            return;
        }

        Assert.True(body.IsEmpty);
        var header = MemoryMarshal.Read<FrameHeader>(prefix);
        var frame = new Frame(this, Other, header, prefix[FrameHeader.SizeBytes..].ToArray());
        Assert.Equal(header.HeadChecksum, Crc32C.Compute(frame.Head));
        simulation.Note($"{actor.Name} -> {Other.Actor.Name} {(IsReply(header) ? "reply " : "")}{header.Opcode} {header.RequestId} slot {header.Slot}/{header.Sequence}{(IsReply(header) ? $" = {(Status)header.Status} {header.Flags & ~FrameFlags.Reply}" : "")}");
        model.Sent(frame);
        if (model.Fault.Filter(frame) is { } filtered)
        {
            filtered.To.Arrive(filtered);
        }
    }

    /// <summary>Brings a frame to this end, behind those that are under way.</summary>
    public void Arrive(Frame frame)
    {
        _lastUs = Math.Max(_lastUs, simulation.NowUs + simulation.Delay(400, 20_000, 600_000));
        simulation.After(_lastUs - simulation.NowUs, actor, () =>
        {
            _arrived.Enqueue(frame);
            Receive();
        });
    }

    /// <summary>The network loses the connection: each end hears of it at its own time.</summary>
    public void Cut()
    {
        foreach (var end in new[] { this, Other })
        {
            end._closed = true;
            simulation.After(simulation.Delay(1000, 20_000, 300_000), end.Actor, () => end._peer?.Close());
        }
    }

    /// <summary>The process of this end is gone: what it sent still arrives, then the end of the connection.</summary>
    public void End()
    {
        if (!_closed)
        {
            _closed = true;
            Other._lastUs = Math.Max(Other._lastUs, simulation.NowUs + simulation.Delay(400, 20_000, 600_000));
            simulation.After(Other._lastUs - simulation.NowUs, Other.Actor, () => Other.Ended());
        }
    }

    protected override void Dispose(bool disposing) => End();

    private static bool IsReply(in FrameHeader header) => (header.Flags & FrameFlags.Reply) != 0;

    private void Ended()
    {
        _closed = true;
        _peer?.Close();
    }

    /// <summary>One frame after the other, as a receive thread: while one is being worked on, the next waits.</summary>
    private void Receive()
    {
        if (_receiving)
        {
            return;
        }

        _receiving = true;
        while (_arrived.TryDequeue(out var frame))
        {
            if (!_closed)
            {
                model.Delivered(frame);
                if (!IsServers && IsReply(frame.Header) && simulation.Random.Percent(30))
                {
                    // The answer is there before its asker has begun to wait: the asker takes it, on its own thread, when what follows has arrived.
                    SynchronizationContext.SetSynchronizationContext(actor.OtherThread);
                }

                _peer!.Deliver(frame.Header, frame.Head, null);
                SynchronizationContext.SetSynchronizationContext(actor);
            }
        }

        _receiving = false;
    }
}
