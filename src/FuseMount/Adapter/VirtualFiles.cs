using System.Collections.Concurrent;
using System.Text;
using EphemeralFs.Core;
using FileMode = EphemeralFs.Core.FileMode;

namespace EphemeralFs.FuseMount.Adapter;

/// <summary>
/// The read-only files that the node itself has in the root of a mount: <c>.stats</c> and <c>.lost</c>. Found by name, not listed.
/// </summary>
/// <remarks>
/// A look-up or a stat makes the text, so that its size can be told: <c>sendfile</c>, and with it busybox's <c>cat</c>, reads no further. An open has the text
/// that the look-up before it made.
/// </remarks>
/// <param name="stats">The text of <c>.stats</c>.</param>
/// <param name="lost">The text of <c>.lost</c>.</param>
internal sealed class VirtualFiles(Func<string> stats, Func<string> lost)
{
    private const ulong Stats = Ino.FirstVirtual;
    private const ulong Lost = Ino.FirstVirtual + 1;

    /// <summary>What was told last, by inode.</summary>
    private readonly ConcurrentDictionary<ulong, byte[]> _told = new();

    /// <summary>What open handles read.</summary>
    private readonly ConcurrentDictionary<ulong, byte[]> _open = new();
    private long _nextHandle;

    /// <summary>Whether an inode number is one of theirs: outside of what servers give out.</summary>
    public static bool Contains(ulong ino) => ino >= Ino.FirstVirtual;

    /// <summary>The inode of a name, <see cref="Ino.None"/> if it is none of theirs.</summary>
    public static ulong Find(ulong parent, ReadOnlySpan<byte> name) =>
        parent != Ino.Root ? Ino.None : name.SequenceEqual(".stats"u8) ? Stats : name.SequenceEqual(".lost"u8) ? Lost : Ino.None;

    public InodeAttributes Attributes(ulong ino) =>
        new() { Ino = ino, Mode = FileMode.Regular | 0x124, Nlink = 1, Size = (ulong)(_told[ino] = Render(ino)).Length };

    public ulong Open(ulong ino)
    {
        var handle = (ulong)Interlocked.Increment(ref _nextHandle);
        _open[handle] = _told.GetOrAdd(ino, Render);
        return handle;
    }

    public ReadOnlySpan<byte> Read(ulong ino, ulong handle, ulong offset, int size)
    {
        // After a daemon restart the text of an open handle is gone: it is rendered again.
        var text = _open.GetOrAdd(handle, _ => Render(ino));
        return offset >= (ulong)text.Length ? default : text.AsSpan((int)offset, Math.Min(size, text.Length - (int)offset));
    }

    public void Close(ulong handle) => _open.TryRemove(handle, out _);

    private byte[] Render(ulong ino) => Encoding.UTF8.GetBytes(ino == Lost ? lost() : stats());
}
