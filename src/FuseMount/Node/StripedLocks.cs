namespace EphemeralFs.FuseMount.Node;

/// <summary>One at a time for each name. Names come and go without end, so they share a bounded number of locks.</summary>
internal sealed class StripedLocks
{
    private readonly SemaphoreSlim[] _locks = [.. Enumerable.Range(0, 64).Select(static _ => new SemaphoreSlim(1))];

    /// <summary>Waits until nobody else has the name.</summary>
    /// <returns>Lets go of it.</returns>
    public async Task<IDisposable> LockAsync(string name)
    {
        var semaphore = _locks[(uint)name.GetHashCode(StringComparison.Ordinal) % _locks.Length];
        await semaphore.WaitAsync();
        return new Held(semaphore);
    }

    private sealed class Held(SemaphoreSlim semaphore) : IDisposable
    {
        public void Dispose() => semaphore.Release();
    }
}
