using System.Diagnostics;
using EphemeralFs.Core;
using EphemeralFs.Interop;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>A mount's connection to the kernel: its descriptors, readers, requests in flight and notifications.</summary>
/// <remarks>
/// <para>A fresh mount: <see cref="Open(FuseHandler,FuseConnectionOptions,SafeFileHandle)"/> (INIT, clones), hand copies of <see cref="Descriptors"/> and
/// <see cref="Negotiated"/> to the keeper, then <see cref="Start"/>. Until then requests wait in the kernel: a clone that only
/// this process holds when it dies would end its requests with ECONNABORTED.</para>
/// <para>A take-over: <see cref="Resume(FuseHandler,FuseConnectionOptions,FuseNegotiated,IReadOnlyList{SafeFileHandle})"/>, then
/// <see cref="Start"/>, which asks for all unanswered requests before it reads.</para>
/// <para><see cref="Stop"/> leaves the mount alive for a successor. <see cref="Completion"/> ends when the kernel unmounts.</para>
/// </remarks>
public sealed unsafe class FuseConnection : IDisposable
{
    private readonly FuseConnectionOptions _options;
    private readonly List<FuseChannel> _channels;
    private readonly FuseWorker[] _workers;
    private readonly bool _resumed;
    private readonly long _slowTicks;
    private readonly TaskCompletionSource<FuseEnd> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Guards the ends of the readers.
    private readonly Lock _gate = new();
    private int _running;
    private FuseEnd? _end;
    private volatile bool _stopping;
    private volatile bool _detached;
    private bool _started;
    private bool _disposed;

    private FuseConnection(
        FuseHandler handler, FuseConnectionOptions options, FuseNegotiated negotiated, List<FuseChannel> channels, bool resumed)
    {
        _options = options;
        _channels = channels;
        _resumed = resumed;
        Handler = handler;
        Negotiated = negotiated;
        CompatSizes = !negotiated.Has(FuseInitFlags.SETXATTR_EXT);
        Tracer = options.Trace is { } sink ? new FuseTrace(sink) : null;
        _slowTicks = options.SlowOperationMs > 0 ? options.SlowOperationMs * Stopwatch.Frequency / 1000 : long.MaxValue;
        Pool = new FusePool(this, RequestBytes(negotiated.MaxWriteBytes), options);
        Notifier = new FuseNotifier(this, options.TakeNotification);
        _workers = new FuseWorker[Math.Max(1, options.Workers)];
        for (int i = 0; i < _workers.Length; i++)
        {
            // With fewer descriptors than readers (no permission to clone) they share: the kernel allows it.
            _workers[i] = new FuseWorker(this, channels[i % channels.Count], i);
        }
    }

    /// <summary>What was agreed at INIT; keep it beside the descriptors.</summary>
    public FuseNegotiated Negotiated { get; }

    /// <summary>Where to send invalidations.</summary>
    public FuseNotifier Notifier { get; }

    /// <summary>Counts per operation.</summary>
    public FuseCounters Counters { get; } = new();

    /// <summary>Ends when no reader runs any more, and says why.</summary>
    public Task<FuseEnd> Completion => _completion.Task;

    /// <summary>All descriptors, clones included, the first being the one of the mount. Owned by this object: duplicate them.</summary>
    public IReadOnlyList<int> Descriptors => [.. _channels.Select(c => c.Descriptor).Where(fd => fd >= 0)];

    internal FuseHandler Handler { get; }

    /// <summary>Held by the resting reader whose turn it is to wait.</summary>
    internal Lock RestGate { get; } = new();

    internal FusePool Pool { get; }

    internal FuseTrace? Tracer { get; }

    internal bool CompatSizes { get; }

    internal bool IsStopping => _stopping;

    /// <summary>Takes a freshly mounted descriptor through INIT and clones it once per further reader.</summary>
    /// <param name="handler">Who answers.</param>
    /// <param name="options">What is wanted.</param>
    /// <param name="device">The descriptor given to mount(2) or by fusermount3; owned from here on, also on failure.</param>
    /// <exception cref="FuseProtocolException">The kernel is too old, or INIT does not come.</exception>
    public static FuseConnection Open(FuseHandler handler, FuseConnectionOptions options, SafeFileHandle device)
    {
        var primary = new FuseDeviceChannel(device);
        var channels = new List<FuseChannel> { primary };
        try
        {
            ThrowIfFailed(ThreadSignals.Install(), "installing the wake-up signal");
            FuseNegotiated negotiated = FuseInit.Negotiate(primary, options);
            for (int i = 1; i < options.Workers; i++)
            {
                // Without the right to open /dev/fuse (mounted by fusermount3) the readers share one descriptor.
                if (primary.Clone(out FuseDeviceChannel? clone) != Errno.OK)
                {
                    break;
                }
                channels.Add(clone!);
            }
            return new FuseConnection(handler, options, negotiated, channels, resumed: false);
        }
        catch
        {
            channels.ForEach(c => c.Dispose());
            throw;
        }
    }

    /// <summary>As <see cref="Open(FuseHandler,FuseConnectionOptions,SafeFileHandle)"/>, over any channels (tests): INIT on the first.</summary>
    public static FuseConnection Open(FuseHandler handler, FuseConnectionOptions options, IReadOnlyList<FuseChannel> channels)
    {
        FuseNegotiated negotiated = FuseInit.Negotiate(channels[0], options);
        return new FuseConnection(handler, options, negotiated, [.. channels], resumed: false);
    }

    /// <summary>Takes over descriptors on which another process, or object, was serving.</summary>
    /// <param name="handler">Who answers.</param>
    /// <param name="options">Readers, hooks; nothing is negotiated.</param>
    /// <param name="negotiated">What the predecessor agreed on.</param>
    /// <param name="devices">All its descriptors; owned from here on. They stay open even if there are fewer readers.</param>
    public static FuseConnection Resume(
        FuseHandler handler, FuseConnectionOptions options, FuseNegotiated negotiated, IReadOnlyList<SafeFileHandle> devices)
    {
        ThrowIfFailed(ThreadSignals.Install(), "installing the wake-up signal");
        return new FuseConnection(handler, options, negotiated, [.. devices.Select(d => new FuseDeviceChannel(d))], resumed: true);
    }

    /// <summary>As <see cref="Resume(FuseHandler,FuseConnectionOptions,FuseNegotiated,IReadOnlyList{SafeFileHandle})"/>, over any channels (tests).</summary>
    public static FuseConnection Resume(
        FuseHandler handler, FuseConnectionOptions options, FuseNegotiated negotiated, IReadOnlyList<FuseChannel> channels) =>
        new(handler, options, negotiated, [.. channels], resumed: true);

    /// <summary>Starts the readers; after a take-over asks for unanswered requests first.</summary>
    /// <exception cref="FuseProtocolException">The kernel cannot send requests again.</exception>
    public void Start()
    {
        StartWithoutReaders();
        _running = _workers.Length;
        foreach (FuseWorker worker in _workers)
        {
            worker.Start();
        }
    }

    /// <summary>As <see cref="Start"/>, but requests are read when <see cref="Serve"/> is called, in its thread: for a kernel that is simulated.</summary>
    internal void StartWithoutReaders()
    {
        if (_started)
        {
            throw new InvalidOperationException("the connection was started already");
        }
        _started = true;
        Handler.Initialized(Negotiated, _resumed);
        if (_resumed)
        {
            Resend();
        }
    }

    /// <summary>Reads and dispatches the requests that are there.</summary>
    internal void Serve() => _workers[0].Serve();

    /// <summary>Stops reading without unmounting. No request is lost: one that was read is answered, or left for the successor.</summary>
    /// <param name="drain">How long requests in flight may still be answered. After it their replies are dropped, so
    /// that the successor answers them, and those that wait for an interrupt are interrupted.</param>
    /// <returns>Whether all were answered.</returns>
    public bool Stop(TimeSpan drain)
    {
        _stopping = true;
        var clock = Stopwatch.StartNew();
        bool joined = JoinReaders(drain);
        bool drained = joined && DrainInFlight(drain - clock.Elapsed);
        _detached = true;
        if (!drained)
        {
            InterruptAll();
        }
        return drained;
    }

    /// <summary>Readers that hold no memory, because there was nothing to read for a while.</summary>
    internal int RestingReaders => _workers.Count(worker => worker.IsResting);

    /// <summary>Requests without an answer, for dumps.</summary>
    public IReadOnlyList<FuseInFlightInfo> InFlight()
    {
        var list = new List<FuseInFlightInfo>();
        foreach (FuseWorker worker in _workers)
        {
            worker.InFlight.Collect(list);
        }
        return list;
    }

    /// <summary>Stops at once if it runs, and closes the descriptors. The mount lives on if somebody else holds them; otherwise its programs get ENOTCONN.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }
        _disposed = true;
        if (_started && !Completion.IsCompleted)
        {
            Stop(TimeSpan.Zero);
        }
        _detached = true;
        Notifier.Dispose();
        _channels.ForEach(c => c.Dispose());
    }

    /// <summary>Sends a reply, unless the request was left for a successor.</summary>
    internal Errno SendReply(FuseChannel channel, IoVec* segments, int count) =>
        _detached ? Errno.ECANCELED : channel.Send(segments, count);

    /// <summary>Sends a notification on the first channel; the kernel takes it on any.</summary>
    internal Errno SendNotification(IoVec* segment) => _detached ? Errno.ECANCELED : _channels[0].Send(segment, 1);

    /// <summary>An ioctl(2) on the mount's descriptor.</summary>
    internal Errno Control(uint request, void* argument, out int result) => _channels[0].Control(request, argument, out result);

    /// <summary>Answers without a request object.</summary>
    internal Errno Answer(FuseChannel channel, ulong unique, Errno error)
    {
        var header = new FuseOutHeader { Length = (uint)sizeof(FuseOutHeader), Error = -(int)error, Unique = unique };
        IoVec segment;
        segment.Base = &header;
        segment.Length = (nuint)sizeof(FuseOutHeader);
        return SendReply(channel, &segment, 1);
    }

    /// <summary>Resolves an INTERRUPT.</summary>
    /// <remarks>
    /// An unknown number is either answered already (then EAGAIN is refused with ENOENT, which is fine), or a reader
    /// has it in its hands and has not listed it yet (then EAGAIN makes the kernel send the interrupt again). The kernel looks for the
    /// request only among those read from the descriptor written to, and the interrupt may have come by another: all are tried.
    /// </remarks>
    internal void Interrupt(ulong interruptUnique, ulong requestUnique)
    {
        ulong unique = requestUnique & ~FuseAbi.UniqueResend;
        foreach (FuseWorker worker in _workers)
        {
            if (worker.InFlight.TryInterrupt(unique, out FuseInterruptHook hook))
            {
                Invoke(hook);
                return;
            }
        }
        foreach (FuseChannel channel in _channels)
        {
            if (Answer(channel, interruptUnique, Errno.EAGAIN) == Errno.OK)
            {
                return;
            }
        }
    }

    internal void ReportFault(FuseOpcode opcode, ulong unique, string what, Exception? exception) =>
        _options.OnFault?.Invoke(new FuseFault(opcode, unique, what, exception));

    internal void ReportMalformed(in FuseInHeader header, string what)
    {
        Counters.CountMalformed();
        ReportFault(header.Opcode, header.Unique & ~FuseAbi.UniqueResend, what, null);
    }

    /// <summary>Tells of an answered operation what is out of the ordinary.</summary>
    internal void Report(FuseRequest request, Errno result, long ticks)
    {
        if (ticks >= _slowTicks && request.Opcode != FuseOpcode.SETLKW)
        {
            _options.OnSlow?.Invoke(Finished(request));
        }
        if (result == Errno.EIO)
        {
            _options.OnIoError?.Invoke(Finished(request));
        }

        FuseFinishedOperation Finished(FuseRequest r) => new(r.Opcode, r.Unique, r.NodeId, r.Pid, ticks * 1000.0 / Stopwatch.Frequency, result);
    }

    internal void WorkerEnded(FuseEnd end)
    {
        bool last;
        lock (_gate)
        {
            // An unmount or failure says more than a stop.
            if (_end is null || _end.Value.Reason == FuseEndReason.Stopped)
            {
                _end = end;
            }
            last = --_running == 0;
        }
        if (end.Reason == FuseEndReason.Failed)
        {
            // One reader's failure must not leave a mount half served.
            _stopping = true;
        }
        if (!last)
        {
            return;
        }
        if (_end.Value.Reason != FuseEndReason.Stopped)
        {
            InterruptAll();
        }
        _completion.TrySetResult(_end.Value);
    }

    /// <summary>Largest message: header, fuse_write_in and payload, or what the kernel insists on.</summary>
    private static int RequestBytes(int maxWriteBytes) =>
        Math.Max(FuseAbi.MinReadBuffer, FuseParser.HeaderSize + sizeof(FuseWriteIn) + maxWriteBytes);

    private static void ThrowIfFailed(Errno errno, string what)
    {
        if (errno != Errno.OK)
        {
            throw new FuseProtocolException(errno, $"{what} failed: {errno}");
        }
    }

    private void Resend()
    {
        if (!Negotiated.Has(FuseInitFlags.HAS_RESEND))
        {
            throw new FuseProtocolException(Errno.EOPNOTSUPP, "this kernel cannot send requests again (needs FUSE 7.40, Linux 6.9): no take-over");
        }
        Span<byte> message = stackalloc byte[sizeof(FuseOutHeader)];
        FuseNotification.Resend().Encode(message);
        fixed (byte* start = message)
        {
            IoVec segment;
            segment.Base = start;
            segment.Length = (nuint)message.Length;
            ThrowIfFailed(_channels[0].Send(&segment, 1), "asking the kernel to send requests again");
        }
    }

    private bool JoinReaders(TimeSpan limit)
    {
        // Readers that wait are woken at once; one inside a handler is given the time to answer.
        var clock = Stopwatch.StartNew();
        TimeSpan grace = limit > TimeSpan.FromSeconds(1) ? limit : TimeSpan.FromSeconds(1);
        foreach (FuseWorker worker in _workers)
        {
            while (!worker.Join(0))
            {
                worker.Wake();
                if (worker.Join(1))
                {
                    break;
                }
                if (clock.Elapsed > grace)
                {
                    return false;
                }
            }
        }
        return true;
    }

    private bool DrainInFlight(TimeSpan limit)
    {
        var clock = Stopwatch.StartNew();
        while (Counters.InFlight > 0)
        {
            if (clock.Elapsed >= limit)
            {
                return false;
            }
            Thread.Sleep(1);
        }
        return true;
    }

    private void InterruptAll()
    {
        foreach (FuseWorker worker in _workers)
        {
            foreach (FuseInterruptHook hook in worker.InFlight.InterruptAll())
            {
                Invoke(hook);
            }
        }
    }

    private void Invoke(FuseInterruptHook hook)
    {
        try
        {
            hook.Invoke();
        }
        catch (Exception e)
        {
            ReportFault(FuseOpcode.INTERRUPT, 0, "an interrupt callback threw", e);
        }
    }
}
