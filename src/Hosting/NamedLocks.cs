namespace EphemeralFs.Hosting;

/// <summary>One at a time for each name: who waits long for one name holds up nobody with another.</summary>
public sealed class NamedLocks
{
    private readonly Dictionary<string, Entry> _entries = new(StringComparer.Ordinal); // guards itself

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
        entry.Semaphore.Release();
        lock (_entries)
        {
            if (--entry.Users == 0)
            {
                _entries.Remove(name);
                entry.Semaphore.Dispose();
            }
        }
    }

    private sealed class Entry
    {
        public SemaphoreSlim Semaphore { get; } = new(1);

        /// <summary>Who has it, and who waits. Under the lock of the entries.</summary>
        public int Users { get; set; }
    }

    private sealed class Held(NamedLocks locks, string name, Entry entry) : IDisposable
    {
        public void Dispose() => locks.Release(name, entry);
    }
}
