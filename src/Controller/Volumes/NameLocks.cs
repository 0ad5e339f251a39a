namespace EphemeralFs.Controller.Volumes;

/// <summary>One at a time for each name: what a metadata server is told of a volume must arrive in the order in which it was written down.</summary>
internal sealed class NameLocks
{
    private readonly Dictionary<string, Entry> _entries = new(StringComparer.Ordinal); // guarded by itself

    /// <summary>Waits until nobody else has the name.</summary>
    /// <returns>Lets go of it.</returns>
    public async Task<IDisposable> LockAsync(string name)
    {
        Entry? entry;
        lock (_entries)
        {
            if (!_entries.TryGetValue(name, out entry))
            {
                _entries.Add(name, entry = new Entry());
            }

            entry.Users++;
        }

        await entry.Semaphore.WaitAsync().ConfigureAwait(false);
        return new Held(this, name, entry);
    }

    private void Release(string name, Entry entry)
    {
        lock (_entries)
        {
            if (--entry.Users == 0)
            {
                _entries.Remove(name);
            }
        }

        entry.Semaphore.Release();
    }

    private sealed class Entry
    {
        public SemaphoreSlim Semaphore { get; } = new(1);

        public int Users { get; set; }
    }

    private sealed class Held(NameLocks locks, string name, Entry entry) : IDisposable
    {
        public void Dispose() => locks.Release(name, entry);
    }
}
