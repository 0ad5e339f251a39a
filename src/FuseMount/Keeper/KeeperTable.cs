using System.Text;
using EphemeralFs.Core;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.FuseMount.Keeper;

/// <summary>Descriptors that close when the last user lets go: the table, or a message that still waits to be sent.</summary>
internal sealed class KeeperFds(SafeFileHandle[] handles)
{
    private int _users = 1;

    internal int Count => handles.Length;

    /// <summary>The numbers, valid while the caller is a user.</summary>
    internal int[] Numbers => Array.ConvertAll(handles, static handle => (int)handle.DangerousGetHandle());

    internal static KeeperFds Take(ReadOnlySpan<int> received)
    {
        var handles = new SafeFileHandle[received.Length];
        for (var i = 0; i < handles.Length; i++)
        {
            handles[i] = new SafeFileHandle(received[i], ownsHandle: true);
        }

        return new KeeperFds(handles);
    }

    internal KeeperFds AddUser()
    {
        _users++;
        return this;
    }

    internal void Release()
    {
        if (--_users > 0)
        {
            return;
        }

        foreach (var handle in handles)
        {
            handle.Dispose();
        }
    }
}

/// <summary>One entry. Replaced as a whole, so that a reader sees the old or the new one.</summary>
internal sealed record KeeperEntryRecord(byte[] Key, byte[] Payload, KeeperFds Fds)
{
    internal string Name => Encoding.UTF8.GetString(Key);
}

/// <summary>The entries within their bounds, oldest first. Used by the keeper's one thread only.</summary>
internal sealed class KeeperTable : IDisposable
{
    private readonly Dictionary<string, KeeperEntryRecord> _entries = [];
    private readonly List<string> _order = [];
    private int _payloadBytes;
    private int _fds;

    internal int Count => _entries.Count;

    internal IEnumerable<KeeperEntryRecord> Entries
    {
        get
        {
            foreach (var name in _order)
            {
                yield return _entries[name];
            }
        }
    }

    /// <summary>Stores or replaces; takes the descriptors over in every case.</summary>
    internal Errno Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> payload, KeeperFds fds)
    {
        if (key.IsEmpty)
        {
            fds.Release();
            return Errno.EINVAL;
        }

        var record = new KeeperEntryRecord(key.ToArray(), payload.ToArray(), fds);
        var name = record.Name;
        var exists = _entries.TryGetValue(name, out var old);
        var payloadBytes = _payloadBytes + payload.Length - (old?.Payload.Length ?? 0);
        var fdCount = _fds + fds.Count - (old?.Fds.Count ?? 0);
        if (payloadBytes > KeeperLimits.MaxTotalPayloadBytes || fdCount > KeeperLimits.MaxTotalFds
            || (!exists && _entries.Count == KeeperLimits.MaxEntries))
        {
            fds.Release();
            return Errno.ENOSPC;
        }

        _entries[name] = record;
        _payloadBytes = payloadBytes;
        _fds = fdCount;
        if (!exists)
        {
            _order.Add(name);
        }

        old?.Fds.Release();
        return Errno.OK;
    }

    internal Errno Update(ReadOnlySpan<byte> key, ReadOnlySpan<byte> payload) =>
        _entries.TryGetValue(Encoding.UTF8.GetString(key), out var old) ? Put(key, payload, old.Fds.AddUser()) : Errno.ENOENT;

    internal Errno Remove(ReadOnlySpan<byte> key)
    {
        var name = Encoding.UTF8.GetString(key);
        if (!_entries.Remove(name, out var old))
        {
            return Errno.ENOENT;
        }

        _ = _order.Remove(name);
        _payloadBytes -= old.Payload.Length;
        _fds -= old.Fds.Count;
        old.Fds.Release();
        return Errno.OK;
    }

    public void Dispose()
    {
        foreach (var entry in _entries.Values)
        {
            entry.Fds.Release();
        }

        _entries.Clear();
        _order.Clear();
        _payloadBytes = _fds = 0;
    }
}
