using EphemeralFs.Rpc;

namespace EphemeralFs.Tests.Unit.Rpc;

/// <summary>What the pool does with memory that it does not keep.</summary>
public sealed class PooledBufferTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <summary>Nothing is allocated while buffers are given back, so without the pool's asking nothing would be collected.</summary>
    [Fact]
    public void BuffersThatAreNotKeptAreCollected()
    {
        PooledBuffer[] buffers = [.. Enumerable.Range(0, 256).Select(_ => PooledBuffer.Rent(1 << 20))];
        GC.Collect();
        var before = GC.CollectionCount(GC.MaxGeneration);
        Array.ForEach(buffers, buffer => buffer.Dispose());
        Assert.True(SpinWait.SpinUntil(() => GC.CollectionCount(GC.MaxGeneration) > before, Patience));
    }
}
