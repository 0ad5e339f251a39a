using System.Diagnostics;
using System.Runtime.CompilerServices;
using EphemeralFs.Core;
using EphemeralFs.Interop;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>A thread that reads requests from one channel and dispatches them, and the list of those it read.</summary>
/// <remarks>With nothing to read for a while it rests (<see cref="FuseRest"/>): it waits without a buffer, and then has one before it reads.</remarks>
internal sealed unsafe class FuseWorker(FuseConnection connection, FuseChannel channel, int index)
{
    private FuseBuffer? _buffer; // none while it rests
    private Thread? _thread;
    private volatile int _osThreadId;
    private volatile bool _reading;
    private volatile bool _mayRest;
    private long _lastRead;

    public FuseChannel Channel => channel;

    public FuseInFlight InFlight { get; } = new();

    /// <summary>Whether it waits without a buffer.</summary>
    public bool IsResting => Volatile.Read(ref _buffer) is null;

    public void Start()
    {
        _thread = new Thread(Run) { IsBackground = true, Name = $"fuse-{index}" };
        _thread.Start();
    }

    /// <summary>Wakes the thread if it waits for a request.</summary>
    public void Wake()
    {
        if (_reading)
        {
            channel.Wake(_osThreadId);
        }
    }

    /// <summary>Has the thread rest if it has read nothing since then, in ticks of the stopwatch.</summary>
    public void RestIfIdle(long since)
    {
        if (Volatile.Read(ref _lastRead) < since)
        {
            _mayRest = true;
            Wake();
        }
    }

    /// <summary>Waits for the thread's end.</summary>
    public bool Join(int timeoutMs) => _thread is null || _thread.Join(timeoutMs);

    private void Run()
    {
        _osThreadId = ThreadSignals.CurrentThreadId;
        FuseEnd end;
        try
        {
            end = Loop();
        }
        catch (Exception e)
        {
            connection.ReportFault(0, 0, "a reader failed", e);
            end = new FuseEnd(FuseEndReason.Failed, Errno.EIO);
        }
        Rest();
        connection.WorkerEnded(end);
    }

    /// <summary>Reads and dispatches in the calling thread until the channel has nothing more.</summary>
    public void Serve()
    {
        _buffer ??= connection.Pool.RentBuffer();
        while (!connection.IsStopping && channel.Receive(_buffer.Start, _buffer.Capacity, out int length) == Errno.OK)
        {
            Dispatch(_buffer, length);
        }
    }

    private FuseEnd Loop()
    {
        while (true)
        {
            // Told to stop between here and the read: the waker repeats until this thread has ended.
            _reading = true;
            if (connection.IsStopping)
            {
                _reading = false;
                return new FuseEnd(FuseEndReason.Stopped, Errno.OK);
            }
            Errno errno = _buffer is null ? ReceiveRested(out int length) : channel.Receive(_buffer.Start, _buffer.Capacity, out length);
            _reading = false;
            switch (errno)
            {
                case Errno.OK:
                    _mayRest = false;
                    Dispatch(_buffer!, length);
                    break;
                case Errno.EINTR:
                    if (_mayRest)
                    {
                        _mayRest = false;
                        Rest();
                    }
                    break;
                case Errno.EAGAIN:
                case Errno.ENOENT:
                    // ENOENT: the request was interrupted while it was being copied.
                    break;
                case Errno.ENODEV:
                    return new FuseEnd(FuseEndReason.Unmounted, errno);
                case Errno.ECONNABORTED:
                    return new FuseEnd(FuseEndReason.Aborted, errno);
                default:
                    return new FuseEnd(FuseEndReason.Failed, errno);
            }
        }
    }

    /// <summary>Waits without a buffer, then has one and reads. EINTR also when the connection stops.</summary>
    private Errno ReceiveRested(out int length)
    {
        length = 0;

        // One of the resting readers waits, and has read before the next one does: poll(2) would wake all of them for one request, and each would have a buffer.
        lock (connection.RestGate)
        {
            Errno errno = connection.IsStopping ? Errno.EINTR : channel.WaitReadable(Timeout.Infinite);
            if (errno != Errno.OK)
            {
                return errno;
            }
            FuseBuffer buffer = connection.Pool.RentBuffer();
            Volatile.Write(ref _buffer, buffer);
            Volatile.Write(ref _lastRead, Stopwatch.GetTimestamp());
            FuseRest.Awake(this);
            return channel.Receive(buffer.Start, buffer.Capacity, out length);
        }
    }

    private void Rest()
    {
        if (_buffer is { } buffer)
        {
            _buffer = null;
            connection.Pool.Return(buffer);
            FuseRest.Resting(this);
        }
    }

    /// <summary>Checks one message and hands it to the handler. Never throws.</summary>
    private void Dispatch(FuseBuffer buffer, int length)
    {
        long started = Stopwatch.GetTimestamp();
        Volatile.Write(ref _lastRead, started);
        var message = new ReadOnlySpan<byte>(buffer.Start, length);
        if (FuseParser.ReadHeader(message, out FuseInHeader header) != Errno.OK)
        {
            connection.ReportMalformed(default, "a malformed request: shorter than a header");
            return;
        }
        FuseOpcodeRow? row = FuseOpcodeTable.Find(header.Opcode);
        if (row is null)
        {
            connection.Counters.CountUnknown();
            connection.Answer(channel, header.Unique, Errno.ENOSYS);
            return;
        }
        Errno errno = FuseParser.Parse(message, header, row, connection.CompatSizes, out FuseParsed parsed);
        if (errno != Errno.OK)
        {
            if (errno != Errno.ENAMETOOLONG)
            {
                connection.ReportMalformed(header, "a malformed request: not as long as it must be, or a name without end");
            }
            if (row.ReplyDue)
            {
                connection.Answer(channel, header.Unique, errno);
            }
            return;
        }
        connection.Counters.Begin(row);
        if (row.Invoke is null)
        {
            DispatchOwn(buffer, header, row, started);
            return;
        }

        FuseRequest request = connection.Pool.RentRequest();
        if (request.Begin(this, row, buffer, length, parsed, started))
        {
            _buffer = connection.Pool.RentBuffer();
        }
        InFlight.Add(request);
        connection.Tracer?.Request(request);
        int generation = request.Generation;
        try
        {
            row.Invoke(connection.Handler, request);
        }
        catch (Exception e)
        {
            FailSafely(request, generation, e);
        }
        if (!row.ReplyDue)
        {
            request.EndWithoutReply();
        }
    }

    private static void FailSafely(FuseRequest request, int generation, Exception exception)
    {
        try
        {
            request.Fail(generation, exception);
        }
        catch (InvalidOperationException)
        {
            // Answered by another thread at this very moment; reported already.
        }
    }

    /// <summary>INTERRUPT and INIT.</summary>
    private void DispatchOwn(FuseBuffer buffer, in FuseInHeader header, FuseOpcodeRow row, long started)
    {
        Errno result = Errno.OK;
        if (row.Opcode == FuseOpcode.INTERRUPT)
        {
            ulong unique = Unsafe.ReadUnaligned<ulong>(buffer.Start + FuseParser.HeaderSize);
            connection.Interrupt(header.Unique, unique);
        }
        else
        {
            // INIT comes once, before the readers run.
            result = Errno.EIO;
            connection.Answer(channel, header.Unique, result);
        }
        connection.Counters.End(row, result, Stopwatch.GetTimestamp() - started);
    }
}
