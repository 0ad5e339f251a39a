using System.IO.Enumeration;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.StorageServer.Tiers;

/// <summary>Removes what was renamed into a tier's trash, on a thread of its own, and gives its room back file by file.</summary>
internal sealed class VolumeRemover : IDisposable
{
    private readonly string _trash;
    private readonly TierAccount _account;
    private readonly ILogger _log;
    private readonly object _lock = new(); // guards _queue, _busy, _removed, _stop; pulsed when one of them changes
    private readonly Queue<string> _queue = new();
    private readonly Thread _thread;
    private bool _busy;
    private long _removed;
    private bool _stop;

    public VolumeRemover(string root, TierAccount account, ILogger log)
    {
        _trash = System.IO.Path.Combine(root, BlockPath.Trash);
        _account = account;
        _log = log;
        _thread = new Thread(Run, 256 << 10) { IsBackground = true, Name = "tier-remover" };
    }

    /// <summary>Counts what an earlier run left in the trash, so that its room is not given out twice, and begins to work.</summary>
    public void Start()
    {
        foreach (var name in Directory.EnumerateDirectories(_trash))
        {
            foreach (var charge in Files(name).Select(f => f.Charge))
            {
                _account.Count(charge);
            }

            _queue.Enqueue(name);
        }

        _thread.Start();
    }

    /// <summary>Adds a directory that was renamed into the trash under this name.</summary>
    public void Add(string name)
    {
        lock (_lock)
        {
            _queue.Enqueue(System.IO.Path.Combine(_trash, name));
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>Waits until at least one more file is removed. False when nothing is to be removed, or when the time is over.</summary>
    public bool WaitForProgress(int timeoutMs)
    {
        var deadline = Environment.TickCount64 + timeoutMs;
        lock (_lock)
        {
            for (var removed = _removed; _removed == removed;)
            {
                var left = deadline - Environment.TickCount64;
                if (_stop || left <= 0 || (!_busy && _queue.Count == 0))
                {
                    return false;
                }

                Monitor.Wait(_lock, (int)left);
            }

            return true;
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _stop = true;
            Monitor.PulseAll(_lock);
        }

        if (_thread.IsAlive)
        {
            _thread.Join();
        }
    }

    private void Run()
    {
        while (true)
        {
            string? directory;
            lock (_lock)
            {
                _busy = false;
                Monitor.PulseAll(_lock);
                while (!_queue.TryDequeue(out directory) && !_stop)
                {
                    Monitor.Wait(_lock);
                }

                if (_stop)
                {
                    // What is left waits in the trash for the next start.
                    return;
                }

                _busy = true;
            }

            try
            {
                Remove(directory!);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                _log.LogError(e, "Removing {Directory} failed; what is left is tried again at the next start", directory);
            }
        }
    }

    private void Remove(string directory)
    {
        foreach (var (path, charge) in Files(directory))
        {
            if (Volatile.Read(ref _stop))
            {
                return;
            }

            File.Delete(path);
            if (charge > 0)
            {
                _account.Return(charge);
            }

            lock (_lock)
            {
                _removed++;
                Monitor.PulseAll(_lock);
            }
        }

        Directory.Delete(directory, recursive: true);
    }

    /// <summary>Files below a volume's directory and what each is charged; 0 for what is no block.</summary>
    private static FileSystemEnumerable<(string Path, long Charge)> Files(string directory) => new(
        directory,
        static (ref entry) => (entry.ToFullPath(), BlockPath.TryParseFile(entry.FileName, out _, out var length) ? BlockFormat.Charge(length) : 0),
        new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = 0, IgnoreInaccessible = false, ReturnSpecialDirectories = false })
    {
        ShouldIncludePredicate = static (ref entry) => !entry.IsDirectory,
    };
}
