using EphemeralFs.Core;

namespace EphemeralFs.Metadata.Namespace;

/// <summary>A session of a node on the volume, as the journal keeps it.</summary>
/// <param name="id">Session id; the volume's id is in the upper half.</param>
/// <param name="node">Node name, for people.</param>
/// <param name="opening">What the node calls its opening (<see cref="Rpc.Messages.OpenSessionRequest.Opening"/>).</param>
public sealed class SessionState(ulong id, string node, ulong opening)
{
    private const int SlotsAtFirst = 16;
    private SlotState[] _slots = [];

    public ulong Id => id;

    public string Node => node;

    public ulong Opening => opening;

    /// <summary>Requests with a lower epoch are refused.</summary>
    public uint Epoch { get; set; } = 1;

    /// <summary>Quota bytes that the node may use without asking.</summary>
    public ulong GrantBytes { get; set; }

    /// <summary>Inode numbers that the node may use.</summary>
    public NumberGrants Inodes { get; } = new();

    /// <summary>Block numbers (within the volume) that the node may use. What it has written and not yet committed is among them.</summary>
    public NumberGrants Blocks { get; } = new();

    /// <summary>Open handles by the number that the node chose.</summary>
    public Dictionary<ulong, OpenHandle> Handles { get; } = [];

    /// <summary>Slots that were used so far; those above are untouched.</summary>
    public ReadOnlySpan<SlotState> Slots => _slots;

    /// <summary>A slot; <paramref name="index"/> is below <see cref="Limits.SlotsPerSession"/>.</summary>
    public ref SlotState Slot(uint index)
    {
        if (index >= (uint)_slots.Length)
        {
            var length = SlotsAtFirst;
            while (length <= index)
            {
                length *= 2;
            }

            Array.Resize(ref _slots, length);
        }

        return ref _slots[index];
    }
}

/// <summary>An open handle.</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="Write">Whether it may write.</param>
public readonly record struct OpenHandle(ulong Ino, bool Write);

/// <summary>The last successful operation of a slot and its answer: a repeated request is answered from here.</summary>
public struct SlotState
{
    private byte[]? _reply;
    private int _length;

    /// <summary>Its sequence number, 0 for none.</summary>
    public uint Sequence;

    /// <summary>The inode whose bytes the operation changed, else 0: other sessions must have forgotten them before the answer goes out.</summary>
    public ulong ChangedIno;

    /// <summary>The encoded answer.</summary>
    public readonly ReadOnlySpan<byte> Reply => _reply.AsSpan(0, _length);

    /// <summary>Records an operation. The buffer is used again while it fits, so that a slot costs nothing in the steady state.</summary>
    public void Record(uint sequence, ulong changedIno, ReadOnlySpan<byte> reply)
    {
        const int Slack = 512;
        if (_reply is null || _reply.Length < reply.Length || _reply.Length > reply.Length + Slack)
        {
            _reply = reply.IsEmpty ? null : new byte[reply.Length];
        }

        reply.CopyTo(_reply);
        _length = reply.Length;
        Sequence = sequence;
        ChangedIno = changedIno;
    }
}
