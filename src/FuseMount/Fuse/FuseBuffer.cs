using System.Buffers;
using System.Runtime.InteropServices;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>Native, page-aligned memory for one message, usable as <see cref="Memory{T}"/> without allocation.</summary>
/// <remarks>
/// A message starts <see cref="Lead"/> bytes into the first page, so that the payload of a WRITE (after header and fuse_write_in)
/// begins on a page and can go on to O_DIRECT files and sockets as it is. All pages are touched when it is made.
/// </remarks>
internal sealed unsafe class FuseBuffer : MemoryManager<byte>
{
    private const int PageBytes = 4096;
    private const int WriteHeadBytes = 80;

    private readonly Block _block;

    /// <param name="capacity">Bytes of message that fit.</param>
    /// <param name="alignPayload">Whether a WRITE's payload shall begin on a page (else the message does).</param>
    public FuseBuffer(int capacity, bool alignPayload)
    {
        Lead = alignPayload ? PageBytes - WriteHeadBytes : 0;
        Capacity = capacity;
        nuint bytes = (nuint)(Lead + capacity + PageBytes - 1) & ~(nuint)(PageBytes - 1);
        _block = new Block(bytes);
    }

    /// <summary>Next in the pool's free list.</summary>
    internal FuseBuffer? Next;

    public int Lead { get; }

    public int Capacity { get; }

    /// <summary>First byte of the message.</summary>
    public byte* Start => _block.Start + Lead;

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
            _block.Dispose();
        }
    }

    /// <summary>The memory, freed when the last who can reach it is gone, should nobody dispose of it.</summary>
    private sealed class Block : IDisposable
    {
        public Block(nuint bytes)
        {
            Start = (byte*)NativeMemory.AlignedAlloc(bytes, PageBytes);
            NativeMemory.Clear(Start, bytes);
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

/// <summary>Free lists of large buffers and of requests. Last in, first out: what was used last is in the cache.</summary>
internal sealed class FusePool(FuseConnection connection, int largeBytes, FuseConnectionOptions options)
{
    // Guards the two lists and their counts.
    private readonly Lock _gate = new();
    private FuseBuffer? _buffers;
    private FuseRequest? _requests;
    private int _idleBuffers;
    private int _idleRequests;

    public int LargeBytes => largeBytes;

    public FuseBuffer RentBuffer()
    {
        lock (_gate)
        {
            if (_buffers is { } buffer)
            {
                _buffers = buffer.Next;
                buffer.Next = null;
                _idleBuffers--;
                return buffer;
            }
        }
        return new FuseBuffer(largeBytes, alignPayload: true);
    }

    public void Return(FuseBuffer buffer)
    {
        lock (_gate)
        {
            if (_idleBuffers < options.IdleBuffers)
            {
                buffer.Next = _buffers;
                _buffers = buffer;
                _idleBuffers++;
                return;
            }
        }
        ((IDisposable)buffer).Dispose();
    }

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
