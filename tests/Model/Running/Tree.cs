using EphemeralFs.Tests.Model.Native;
using static EphemeralFs.Tests.Model.Native.Constants;

namespace EphemeralFs.Tests.Model.Running;

/// <summary>A handle that the sequence keeps open.</summary>
/// <param name="Fd">The descriptor; -1 when the slot is empty.</param>
/// <param name="Node">The node through which it was opened, and on which it stays.</param>
/// <param name="Ino">The inode it was opened on.</param>
/// <param name="Flags">The flags it was opened with.</param>
public sealed record Slot(int Fd, int Node, ulong Ino, int Flags)
{
    public static Slot Empty { get; } = new(-1, 0, 0, 0);

    /// <summary>Whether bytes were written through it, which another node need not see before it is closed.</summary>
    public bool IsDirty { get; set; }
}

/// <summary>
/// One side of a run: a directory, seen through one or more nodes, and the handles that are open in it. Not thread-safe:
/// one run owns it. An empty slot acts as descriptor -1, so that every subsequence of a sequence can be run.
/// </summary>
public sealed class Tree : IDisposable
{
    public const int SlotCount = 8;

    private readonly IReadOnlyList<string> roots;
    private readonly Action remount;
    private readonly byte[] directoryBuffer = new byte[64 << 10];

    /// <param name="roots">The same directory as each node shows it (byte text). The reference has one.</param>
    /// <param name="remount">Unmounts and mounts again; called with no handle open.</param>
    public Tree(Calls calls, IReadOnlyList<string> roots, Action? remount = null)
    {
        Calls = calls;
        this.roots = roots;
        this.remount = remount ?? (() => { });
        Slots = [.. Enumerable.Repeat(Slot.Empty, SlotCount)];
    }

    public Calls Calls { get; }

    public Slot[] Slots { get; }

    /// <summary>Inodes whose bytes changed since this was last cleared, with the node that changed them.</summary>
    public List<(ulong Ino, int Node)> Changed { get; } = [];

    /// <summary>The directory as the given node shows it.</summary>
    public string Root(int node) => roots[node % roots.Count];

    public string Path(int node, string relative) => $"{Root(node)}/{relative}";

    public int Fd(int slot) => Slots[slot].Fd;

    /// <summary>Whether something is open through a node.</summary>
    public bool HasOpen(int node) => Slots.Any(slot => slot.Fd >= 0 && slot.Node == node);

    /// <summary>The same, after the kernel has asked for the attributes: who may change them through a descriptor it judges by those it saw last (S27).</summary>
    public int FreshFd(int slot)
    {
        Calls.Stat(Fd(slot), "", AT_EMPTY_PATH, out _);
        return Fd(slot);
    }

    /// <summary>Keeps a new descriptor in the slot; what the slot held is closed first.</summary>
    public void Keep(int slot, int fd, int node, int flags)
    {
        Close(slot);
        Calls.Stat(fd, "", AT_EMPTY_PATH, out var status);
        Slots[slot] = new Slot(fd, node, status.Ino, flags);
        if ((flags & O_TRUNC) != 0)
        {
            Changed.Add((status.Ino, node));
        }
    }

    /// <summary>The result of close(2), or EBADF for an empty slot.</summary>
    public int Close(int slot)
    {
        int fd = Slots[slot].Fd;
        Slots[slot] = Slot.Empty;
        return fd < 0 ? -EBADF : Calls.Close(fd);
    }

    public void CloseAll()
    {
        for (int slot = 0; slot < SlotCount; slot++)
        {
            Close(slot);
        }
    }

    /// <summary>Notes that bytes were changed through a slot.</summary>
    public void NoteWrite(int slot)
    {
        Slots[slot].IsDirty = true;
        Changed.Add((Slots[slot].Ino, Slots[slot].Node));
    }

    /// <summary>Notes that bytes were changed by path.</summary>
    public void NoteWrite(int node, string path)
    {
        if (Calls.Stat(AT_FDCWD, path, 0, out var status) == 0)
        {
            Changed.Add((status.Ino, node));
        }
    }

    public void Remount()
    {
        CloseAll();
        remount();
    }

    /// <summary>All entries of an open directory from where it stands, read with a buffer of the given size.</summary>
    public int List(int fd, int bufferSize, List<DirectoryEntry> entries)
    {
        var buffer = bufferSize >= directoryBuffer.Length ? directoryBuffer : new byte[bufferSize];
        int read;
        while ((read = Calls.ReadDirectory(fd, buffer, entries)) > 0)
        {
        }
        return read;
    }

    public void Dispose() => CloseAll();
}
