using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>One request of the kernel, from its arrival to its reply.</summary>
/// <remarks>
/// Owned by the handler from dispatch until exactly one <c>Reply…</c> method has been called (from any thread); then it goes back to
/// a pool with all its memory. A second reply throws <see cref="InvalidOperationException"/> as long as the object has not been
/// given out again; <see cref="FuseConnectionOptions.DetectMisuse"/> finds it always. A reply that the kernel no longer waits for
/// (interrupted, aborted, unmounted) is harmless.
/// </remarks>
#pragma warning disable CA1001 // Pooled as long as the process runs: the buffer frees itself, the token source has no timer.
public sealed unsafe partial class FuseRequest
#pragma warning restore CA1001
{
    private const int Free = 0;
    private const int InFlight = 1;
    private const int Replying = 2;

    private readonly FuseConnection _connection;
    private readonly FuseBuffer _small;
    private FuseBuffer? _large;
    private FuseBuffer? _rented;
    private byte[]? _rentedArray;
    private FuseWorker? _worker;
    private FuseOpcodeRow _row = null!;
    private byte* _message;
    private FuseParsed _parsed;
    private int _state;
    private int _generation;
    private long _started;

    // Links, guarded by the pool and by the worker's list.
    internal FuseRequest? PoolNext;
    internal FuseRequest? ListPrevious;
    internal FuseRequest? ListNext;

    internal FuseRequest(FuseConnection connection, int smallBytes)
    {
        _connection = connection;
        _small = new FuseBuffer(smallBytes, receives: false);
    }

    /// <summary>The connection, with its settings and notifier.</summary>
    public FuseConnection Connection => _connection;

    /// <summary>The header as it came, <c>Unique</c> with its resend bit.</summary>
    public ref readonly FuseInHeader Header => ref *(FuseInHeader*)_message;

    /// <summary>What is asked.</summary>
    public FuseOpcode Opcode => _row.Opcode;

    /// <summary>The row of <see cref="FuseOpcodeTable"/>.</summary>
    public FuseOpcodeRow Row => _row;

    /// <summary>Number of the request, the same when it is sent again: without the resend bit.</summary>
    public ulong Unique => Header.Unique & ~FuseAbi.UniqueResend;

    /// <summary>Whether the kernel sends this request again after a take-over: it may have been executed already.</summary>
    public bool IsResent => (Header.Unique & FuseAbi.UniqueResend) != 0;

    /// <summary>The node that the operation is about; for operations on names, their directory.</summary>
    public ulong NodeId => Header.NodeId;

    /// <summary>File system user id of the calling thread.</summary>
    public uint Uid => Header.Uid;

    /// <summary>File system group id of the calling thread.</summary>
    public uint Gid => Header.Gid;

    /// <summary>Thread id of the caller, 0 outside the mount's pid namespace and for the kernel's own requests.</summary>
    public uint Pid => Header.Pid;

    /// <summary>The fixed input. A structure larger than what this kernel sends is filled up with zeros (RENAME read as RENAME2: no flags).</summary>
    public TIn In<TIn>()
        where TIn : unmanaged
    {
        if (sizeof(TIn) <= _parsed.InputSize)
        {
            return Unsafe.ReadUnaligned<TIn>(_message + FuseParser.HeaderSize);
        }
        TIn value = default;
        Unsafe.CopyBlockUnaligned(&value, _message + FuseParser.HeaderSize, (uint)_parsed.InputSize);
        return value;
    }

    /// <summary>First name, without its NUL: 1 byte to 1024 (answer ENAMETOOLONG above 255), any content. Valid until the reply.</summary>
    public ReadOnlySpan<byte> Name => new(_message + _parsed.NameOffset, _parsed.NameLength);

    /// <summary>Second name (target of SYMLINK, new name of RENAME), as <see cref="Name"/>.</summary>
    public ReadOnlySpan<byte> Name2 => new(_message + _parsed.Name2Offset, _parsed.Name2Length);

    /// <summary><see cref="Name"/> for asynchronous code.</summary>
    public ReadOnlyMemory<byte> NameMemory => Slice(_parsed.NameOffset, _parsed.NameLength);

    /// <summary><see cref="Name2"/> for asynchronous code.</summary>
    public ReadOnlyMemory<byte> Name2Memory => Slice(_parsed.Name2Offset, _parsed.Name2Length);

    /// <summary>Data of WRITE, SETXATTR, IOCTL. Page-aligned for a large WRITE. Valid until the reply.</summary>
    public ReadOnlySpan<byte> Payload => new(_message + _parsed.PayloadOffset, _parsed.PayloadLength);

    /// <summary><see cref="Payload"/> for asynchronous code.</summary>
    public ReadOnlyMemory<byte> PayloadMemory => Slice(_parsed.PayloadOffset, _parsed.PayloadLength);

    /// <summary>What BATCH_FORGET lists.</summary>
    public ReadOnlySpan<FuseForgetOne> Forgets => MemoryMarshal.Cast<byte, FuseForgetOne>(Payload);

    /// <summary>The whole message, for dumps.</summary>
    public ReadOnlySpan<byte> Message => new(_message, (int)Header.Length);

    /// <summary>Time since the request was read, ms.</summary>
    public double ElapsedMs => Stopwatch.GetElapsedTime(_started).TotalMilliseconds;

    /// <summary>Memory for the reply's data, page-aligned and pooled up to the connection's largest request. One per request; gone with the reply.</summary>
    /// <param name="sizeBytes">Bytes; above the connection's largest request an array is allocated.</param>
    public Memory<byte> RentReply(int sizeBytes)
    {
        if (_rented is not null || _rentedArray is not null)
        {
            throw new InvalidOperationException("this request has a reply buffer already");
        }
        if (sizeBytes > _connection.Pool.LargeBytes)
        {
            _rentedArray = new byte[sizeBytes];
            return _rentedArray;
        }
        _rented = _connection.Pool.RentBuffer();
        return _rented.Memory[..sizeBytes];
    }

    private ReadOnlyMemory<byte> Slice(int offset, int length) => (_large ?? _small).Memory.Slice(offset, length);

    /// <summary>Fills a request from the pool: copies a small message, takes over the buffer of a large one.</summary>
    /// <returns>Whether <paramref name="buffer"/> now belongs to this request.</returns>
    internal bool Begin(FuseWorker worker, FuseOpcodeRow row, FuseBuffer buffer, int length, in FuseParsed parsed, long started)
    {
        bool take = length > _small.Capacity;
        if (take)
        {
            _large = buffer;
            _message = buffer.Start;
        }
        else
        {
            Unsafe.CopyBlock(_small.Start, buffer.Start, (uint)length);
            _message = _small.Start;
        }
        _worker = worker;
        _row = row;
        _parsed = parsed;
        _started = started;
        Volatile.Write(ref _state, InFlight);
        return take;
    }

    /// <summary>Ends a request to which no answer is due.</summary>
    internal void EndWithoutReply()
    {
        Claim();
        Finish(Errno.OK, -1);
    }

    private void Claim()
    {
        int state = Interlocked.CompareExchange(ref _state, Replying, InFlight);
        if (state != InFlight)
        {
            // The object may already serve another request, so nothing of it is touched.
            var fault = new InvalidOperationException("a FUSE request was answered twice");
            _connection.ReportFault(0, 0, "a request was answered twice", fault);
            throw fault;
        }
    }

    /// <summary>Counts, traces, unlinks and recycles after the reply was sent.</summary>
    private void Finish(Errno error, int replyBytes)
    {
        FuseConnection connection = _connection;
        long elapsed = Stopwatch.GetTimestamp() - _started;
        if (connection.Tracer is { } tracer)
        {
            tracer.Reply(this, error, replyBytes, elapsed);
        }
        connection.Report(this, error, elapsed);
        _worker!.InFlight.Remove(this);
        connection.Counters.End(_row, error, elapsed);
        ResetInterrupt();
        if (_large is { } large)
        {
            _large = null;
            connection.Pool.Return(large);
        }
        if (_rented is { } rented)
        {
            _rented = null;
            connection.Pool.Return(rented);
        }
        _rentedArray = null;
        Volatile.Write(ref _generation, _generation + 1);
        Volatile.Write(ref _state, Free);
        connection.Pool.Return(this);
    }
}
