using System.Buffers;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using EphemeralFs.Interop;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>Native, page-aligned memory for one message, usable as <see cref="Memory{T}"/> without allocation.</summary>
/// <remarks>
/// A message starts <see cref="Lead"/> bytes into the first page, so that the payload of a WRITE (after header and fuse_write_in)
/// begins on a page and can go on to O_DIRECT files and sockets as it is. All pages are there before the kernel fills them: where it has to make one and the process is
/// being killed it gives the request up, and its program hears EIO (fuse_dev_do_read in fs/fuse/dev.c), which no successor can mend.
/// </remarks>
internal sealed unsafe class FuseBuffer : MemoryManager<byte>
{
    private const int PageBytes = 4096;
    private const int WriteHeadBytes = 80;

    private readonly IDisposable _memory;

    /// <param name="capacity">Bytes of message that fit.</param>
    /// <param name="receives">Whether the kernel shall fill it: then a WRITE's payload begins on a page (else the message does).</param>
    public FuseBuffer(int capacity, bool receives)
    {
        Lead = receives ? PageBytes - WriteHeadBytes : 0;
        Capacity = capacity;
        nuint bytes = (nuint)(Lead + capacity + PageBytes - 1) & ~(nuint)(PageBytes - 1);
        if (receives)
        {
            var resident = new ResidentMemory(bytes);
            _memory = resident;
            Start = resident.Start + Lead;
        }
        else
        {
            var block = new Block(bytes);
            _memory = block;
            Start = block.Start;
        }
    }

    /// <summary>Next in the pool's free list.</summary>
    internal FuseBuffer? Next;

    public int Lead { get; }

    public int Capacity { get; }

    /// <summary>First byte of the message.</summary>
    public byte* Start { get; }

    public override Memory<byte> Memory => CreateMemory(Capacity);

    public override Span<byte> GetSpan() => new(Start, Capacity);

    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)Capacity);
        return new MemoryHandle(Start + elementIndex, default, this);
    }

    public override void Unpin() { }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _memory.Dispose();
        }
    }

    /// <summary>The memory, freed when the last who can reach it is gone, should nobody dispose of it.</summary>
    private sealed class Block : IDisposable
    {
        public Block(nuint bytes)
        {
            Start = (byte*)NativeMemory.AlignedAlloc(bytes, PageBytes);
        }

        ~Block() => Free();

        public byte* Start { get; private set; }

        public void Dispose()
        {
            Free();
            GC.SuppressFinalize(this);
        }

        private void Free()
        {
            byte* start = Start;
            Start = null;
            NativeMemory.AlignedFree(start);
        }
    }
}

/// <summary>Idle large buffers of one size, of all mounts of the process together: what many mounts keep must not grow with their number. Last in, first out.</summary>
internal sealed class FuseBufferPool(int bytes)
{
    /// <summary>Idle buffers that are kept at most: fresh memory costs four times as much per byte as recycled, and a connection has some 64 requests in the background.</summary>
    private const int IdleMax = 128;

    private static readonly ConcurrentDictionary<int, FuseBufferPool> s_pools = new();

    // Guards the list and its counts.
    private readonly Lock _gate = new();
    private FuseBuffer? _first;
    private int _idle;
    private int _unused; // so many were idle all the time since the last trim

    /// <summary>The pool of buffers for messages of a size.</summary>
    public static FuseBufferPool For(int bytes) => s_pools.GetOrAdd(bytes, static bytes => new FuseBufferPool(bytes));

    /// <summary>Idle buffers.</summary>
    public int Idle
    {
        get
        {
            lock (_gate)
            {
                return _idle;
            }
        }
    }

    public FuseBuffer Rent()
    {
        lock (_gate)
        {
            if (Take() is { } buffer)
            {
                _unused = Math.Min(_unused, _idle);
                return buffer;
            }
        }
        return new FuseBuffer(bytes, receives: true);
    }

    public void Return(FuseBuffer buffer)
    {
        lock (_gate)
        {
            if (_idle < IdleMax)
            {
                buffer.Next = _first;
                _first = buffer;
                _idle++;
                return;
            }
        }
        ((IDisposable)buffer).Dispose();
    }

    /// <summary>Frees, of all pools, what nobody needed since the last call. Returns whether anything is left.</summary>
    public static bool TrimAll()
    {
        bool isLeft = false;
        foreach (FuseBufferPool pool in s_pools.Values)
        {
            isLeft |= pool.Trim();
        }
        return isLeft;
    }

    private bool Trim()
    {
        while (true)
        {
            FuseBuffer? buffer;
            lock (_gate)
            {
                buffer = _unused > 0 ? Take() : null;
                if (buffer is null)
                {
                    _unused = _idle;
                    return _idle > 0;
                }
                _unused--;
            }
            ((IDisposable)buffer).Dispose();
        }
    }

    private FuseBuffer? Take()
    {
        if (_first is not { } buffer)
        {
            return null;
        }
        _first = buffer.Next;
        buffer.Next = null;
        _idle--;
        return buffer;
    }
}

/// <summary>A connection's free list of requests, last in, first out: what was used last is in the cache; and its large buffers.</summary>
internal sealed class FusePool(FuseConnection connection, int largeBytes, FuseConnectionOptions options)
{
    private readonly FuseBufferPool _buffers = FuseBufferPool.For(largeBytes);

    // Guards the list and its count.
    private readonly Lock _gate = new();
    private FuseRequest? _requests;
    private int _idleRequests;

    public int LargeBytes => largeBytes;

    public FuseBuffer RentBuffer() => _buffers.Rent();

    public void Return(FuseBuffer buffer) => _buffers.Return(buffer);

    public FuseRequest RentRequest()
    {
        lock (_gate)
        {
            if (_requests is { } request)
            {
                _requests = request.PoolNext;
                request.PoolNext = null;
                _idleRequests--;
                return request;
            }
        }
        return new FuseRequest(connection, options.SmallRequestBytes);
    }

    public void Return(FuseRequest request)
    {
        if (options.DetectMisuse)
        {
            return;
        }
        lock (_gate)
        {
            if (_idleRequests < options.IdleRequests)
            {
                request.PoolNext = _requests;
                _requests = request;
                _idleRequests++;
            }
        }
    }
}
