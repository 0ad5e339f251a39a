using EphemeralFs.Client.Files;

namespace EphemeralFs.Tests.Unit.Client;

public sealed class SegmentArenaTests : IDisposable
{
    private readonly ZeroedMemory _memory = new();

    public void Dispose() => _memory.Dispose();

    [Fact]
    public async Task Who_was_interrupted_takes_nobodys_place()
    {
        var arena = new SegmentArena(_memory.Map());
        var last = -1;
        while (arena.TryAllocate(ino: 5, window: 0, out var index))
        {
            last = index;
        }

        using var interrupt = new CancellationTokenSource();
        using var never = new CancellationTokenSource();
        var interrupted = arena.WaitAsync(interrupt.Token);
        Task[] waiting = [arena.WaitAsync(never.Token), arena.WaitAsync(CancellationToken.None)];
        interrupt.Cancel();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => interrupted);
        arena.Free(last);
        await waiting[0].WaitAsync(TimeSpan.FromSeconds(30));
        Assert.False(waiting[1].IsCompleted);
        Assert.True(arena.TryAllocate(ino: 5, window: 0, out last));
        arena.Free(last);
        await waiting[1].WaitAsync(TimeSpan.FromSeconds(30));
        await arena.WaitAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(30)); // one is free
    }
}
