using System.Collections.Concurrent;
using System.Text;
using EphemeralFs.Core;
using FileMode = EphemeralFs.Core.FileMode;

namespace EphemeralFs.FuseMount.Adapter;

/// <summary>The read-only file <c>.stats</c> in the root of a mount: found by name, not listed. Each open reads a fresh text.</summary>
internal sealed class StatsFile(Func<string> render)
{
    /// <summary>Its inode number, outside of what servers give out.</summary>
    public const ulong InodeNumber = Ino.FirstVirtual;

    private readonly ConcurrentDictionary<ulong, byte[]> _open = new();
    private long _nextHandle;

    public static bool IsName(ulong parent, ReadOnlySpan<byte> name) => parent == Ino.Root && name.SequenceEqual(".stats"u8);

    public static InodeAttributes Attributes => new() { Ino = InodeNumber, Mode = FileMode.Regular | 0x124, Nlink = 1 };

    public ulong Open()
    {
        var handle = (ulong)Interlocked.Increment(ref _nextHandle);
        _open[handle] = Encoding.UTF8.GetBytes(render());
        return handle;
    }

    public ReadOnlySpan<byte> Read(ulong handle, ulong offset, int size)
    {
        // After a daemon restart the text of an open handle is gone: it is rendered again.
        var text = _open.GetOrAdd(handle, _ => Encoding.UTF8.GetBytes(render()));
        return offset >= (ulong)text.Length ? default : text.AsSpan((int)offset, Math.Min(size, text.Length - (int)offset));
    }

    public void Close(ulong handle) => _open.TryRemove(handle, out _);
}
