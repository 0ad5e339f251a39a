using System.Runtime.InteropServices;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.Interop;

namespace EphemeralFs.Tests.Unit.Fuse;

/// <summary>An answer as the kernel sees it.</summary>
internal sealed record FakeReply(int Error, ulong Unique, byte[] Data)
{
    public Errno Errno => (Errno)(-Error);
}

/// <summary>
/// The kernel's side of a connection in memory, after fs/fuse/dev.c: one queue of pending requests for all descriptors, a list of
/// those being processed for each, INTERRUPT as an extra message that EAGAIN queues again, RESEND that takes back what was read.
/// </summary>
internal sealed unsafe class FakeKernel
{
    private readonly object _gate = new();
    private readonly Queue<byte[]> _pending = new();
    private readonly Dictionary<ulong, TaskCompletionSource<FakeReply>> _waiting = [];
    private readonly List<FakeChannel> _channels = [];
    private readonly List<byte[]> _notifications = [];
    private ulong _lastUnique;
    private Errno _end;

    public FakeKernel(int channels)
    {
        for (int i = 0; i < channels; i++)
        {
            _channels.Add(new FakeChannel(this));
        }
    }

    public IReadOnlyList<FuseChannel> Channels => _channels;

    /// <summary>Replies to nothing that waits: double replies show here.</summary>
    public int Stray { get; private set; }

    /// <summary>INTERRUPTs that were answered EAGAIN while their request was still there.</summary>
    public int Requeued { get; private set; }

    /// <summary>The kernel holds the node, and notifications for it, until the event is set.</summary>
    public (ulong Node, ManualResetEventSlim Until)? Held { get; set; }

    public IReadOnlyList<byte[]> Notifications
    {
        get
        {
            lock (_gate)
            {
                return [.. _notifications];
            }
        }
    }

    public static FuseInitIn Offer(uint major = 7, uint minor = 45) => new()
    {
        Major = major, Minor = minor, MaxReadahead = 131072, Flags = 0x73fffffb, Flags2 = minor >= 36 ? 0x5fdu : 0,
    };

    /// <summary>A descriptor's successor after a take-over: the same list of requests being processed.</summary>
    public IReadOnlyList<FuseChannel> Reopen()
    {
        lock (_gate)
        {
            foreach (FakeChannel channel in _channels)
            {
                channel.Woken = false;
            }
        }
        return _channels;
    }

    public ulong NextUnique()
    {
        lock (_gate)
        {
            return _lastUnique += 2;
        }
    }

    public Task<FakeReply> Submit(byte[] message)
    {
        FuseInHeader header = MemoryMarshal.Read<FuseInHeader>(message);
        var waiting = new TaskCompletionSource<FakeReply>(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_gate)
        {
            _waiting[header.Unique] = waiting;
            _pending.Enqueue(message);
            Monitor.PulseAll(_gate);
        }
        return waiting.Task;
    }

    /// <summary>A message without a reply.</summary>
    public void Post(byte[] message)
    {
        lock (_gate)
        {
            _pending.Enqueue(message);
            Monitor.PulseAll(_gate);
        }
    }

    public void Interrupt(ulong unique) =>
        Post(FuseMessages.Build(FuseOpcode.INTERRUPT, unique | 1, 0, new FuseInterruptIn { Unique = unique }));

    public void End(Errno errno)
    {
        lock (_gate)
        {
            _end = errno;
            Monitor.PulseAll(_gate);
        }
    }

    private Errno Receive(FakeChannel channel, byte* buffer, int capacity, out int length)
    {
        length = 0;
        lock (_gate)
        {
            Errno errno = Wait(channel);
            if (errno != Errno.OK)
            {
                return errno;
            }
            byte[] message = _pending.Dequeue();
            Assert.True(message.Length <= capacity);
            message.CopyTo(new Span<byte>(buffer, capacity));
            length = message.Length;
            if (message.Length >= 40)
            {
                FuseInHeader header = MemoryMarshal.Read<FuseInHeader>(message);
                if (header.Opcode != FuseOpcode.INTERRUPT)
                {
                    channel.Processing[header.Unique] = message;
                }
            }
            return Errno.OK;
        }
    }

    /// <summary>Waits for a message, the end, or a signal; under the gate.</summary>
    private Errno Wait(FakeChannel channel)
    {
        while (_pending.Count == 0)
        {
            if (_end != Errno.OK)
            {
                return _end;
            }
            if (channel.Woken)
            {
                channel.Woken = false;
                return Errno.EINTR;
            }
            Monitor.Wait(_gate);
        }
        return Errno.OK;
    }

    private Errno Send(FakeChannel channel, IoVec* segments, int count)
    {
        var bytes = new List<byte>();
        for (int i = 0; i < count; i++)
        {
            bytes.AddRange(new ReadOnlySpan<byte>(segments[i].Base, (int)segments[i].Length));
        }
        byte[] message = [.. bytes];
        FuseOutHeader header = MemoryMarshal.Read<FuseOutHeader>(message);
        if (header.Length != message.Length)
        {
            return Errno.EINVAL;
        }
        if (header.Unique == 0 && Held is { } held && MemoryMarshal.Read<ulong>(message.AsSpan(16)) == held.Node)
        {
            held.Until.Wait();
        }
        lock (_gate)
        {
            if (header.Unique == 0)
            {
                return Notify(header, message);
            }
            if (header.Error is <= -512 or > 0)
            {
                return Errno.EINVAL;
            }
            if ((header.Unique & 1) != 0)
            {
                return AnswerInterrupt(channel, header);
            }
            if (!channel.Processing.Remove(header.Unique))
            {
                Stray++;
                return Errno.ENOENT;
            }
            if (_waiting.Remove(header.Unique & ~FuseAbi.UniqueResend, out TaskCompletionSource<FakeReply>? waiting))
            {
                waiting.SetResult(new FakeReply(header.Error, header.Unique, message[16..]));
            }
            return Errno.OK;
        }
    }

    private Errno AnswerInterrupt(FakeChannel channel, FuseOutHeader header)
    {
        ulong unique = header.Unique & ~1UL;
        if (!channel.Processing.ContainsKey(unique))
        {
            return Errno.ENOENT;
        }
        if ((Errno)(-header.Error) == Errno.EAGAIN)
        {
            Requeued++;
            _pending.Enqueue(FuseMessages.Build(FuseOpcode.INTERRUPT, unique | 1, 0, new FuseInterruptIn { Unique = unique }));
            Monitor.PulseAll(_gate);
        }
        return Errno.OK;
    }

    private Errno Notify(FuseOutHeader header, byte[] message)
    {
        _notifications.Add(message);
        if (header.Error == (int)FuseNotifyCode.RESEND)
        {
            foreach (FakeChannel channel in _channels)
            {
                foreach ((ulong unique, byte[] request) in channel.Processing)
                {
                    byte[] again = [.. request];
                    BitConverter.TryWriteBytes(again.AsSpan(8), unique | FuseAbi.UniqueResend);
                    _pending.Enqueue(again);
                }
                channel.Processing.Clear();
            }
            Monitor.PulseAll(_gate);
        }
        return Errno.OK;
    }

    private sealed class FakeChannel(FakeKernel kernel) : FuseChannel
    {
        public Dictionary<ulong, byte[]> Processing { get; } = [];

        public bool Woken { get; set; }

        public override Errno Receive(byte* buffer, int capacity, out int length) => kernel.Receive(this, buffer, capacity, out length);

        public override Errno WaitReadable(int timeoutMs)
        {
            lock (kernel._gate)
            {
                return kernel.Wait(this);
            }
        }

        public override Errno Send(IoVec* segments, int count) => kernel.Send(this, segments, count);

        public override void Wake(int osThreadId)
        {
            lock (kernel._gate)
            {
                Woken = true;
                Monitor.PulseAll(kernel._gate);
            }
        }
    }
}
