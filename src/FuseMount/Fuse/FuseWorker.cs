using System.Diagnostics;
using System.Runtime.CompilerServices;
using EphemeralFs.Core;
using EphemeralFs.Interop;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>A thread that reads requests from one channel and dispatches them, and the list of those it read.</summary>
internal sealed unsafe class FuseWorker(FuseConnection connection, FuseChannel channel, int index)
{
    private FuseBuffer _buffer = connection.Pool.RentBuffer();
    private Thread? _thread;
    private volatile int _osThreadId;
    private volatile bool _reading;

    public FuseChannel Channel => channel;

    public FuseInFlight InFlight { get; } = new();

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
        connection.Pool.Return(_buffer);
        connection.WorkerEnded(end);
    }

    /// <summary>Reads and dispatches in the calling thread until the channel has nothing more.</summary>
    public void Serve()
    {
        while (!connection.IsStopping && channel.Receive(_buffer.Start, _buffer.Capacity, out int length) == Errno.OK)
        {
            Dispatch(length);
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
            Errno errno = channel.Receive(_buffer.Start, _buffer.Capacity, out int length);
            _reading = false;
            switch (errno)
            {
                case Errno.OK:
                    Dispatch(length);
                    break;
                case Errno.EINTR:
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

    /// <summary>Checks one message and hands it to the handler. Never throws.</summary>
    private void Dispatch(int length)
    {
        long started = Stopwatch.GetTimestamp();
        var message = new ReadOnlySpan<byte>(_buffer.Start, length);
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
            DispatchOwn(header, row, started);
            return;
        }

        FuseRequest request = connection.Pool.RentRequest();
        if (request.Begin(this, row, _buffer, length, parsed, started))
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
    private void DispatchOwn(in FuseInHeader header, FuseOpcodeRow row, long started)
    {
        Errno result = Errno.OK;
        if (row.Opcode == FuseOpcode.INTERRUPT)
        {
            ulong unique = Unsafe.ReadUnaligned<ulong>(_buffer.Start + FuseParser.HeaderSize);
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
