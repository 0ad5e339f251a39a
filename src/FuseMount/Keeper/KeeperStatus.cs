using System.Buffers.Binary;

namespace EphemeralFs.FuseMount.Keeper;

/// <summary>What the supervisor is doing.</summary>
public enum KeeperState : byte
{
    /// <summary>No daemon, and none to start.</summary>
    Idle = 0,

    /// <summary>A daemon outlived the last keeper; waiting until it attaches.</summary>
    Adopting = 1,

    /// <summary>A daemon was started and has not attached yet.</summary>
    Starting = 2,

    /// <summary>A daemon is attached.</summary>
    Running = 3,

    /// <summary>The daemon was asked to stop.</summary>
    Stopping = 4,

    /// <summary>The daemon was killed; waiting until it certainly does nothing any more.</summary>
    Killing = 5,

    /// <summary>Waiting before the next start.</summary>
    Backoff = 6,

    /// <summary>Everything is over.</summary>
    Ended = 7,
}

/// <summary>One entry as the status shows it.</summary>
public sealed record KeeperEntryInfo(string Key, int PayloadBytes, int Fds);

/// <summary>A keeper at one moment.</summary>
public sealed record KeeperStatus
{
    private const int Bytes = 49;

    /// <summary>Process of the keeper.</summary>
    public int KeeperPid { get; init; }

    /// <summary>Process of the daemon; 0 for none.</summary>
    public int DaemonPid { get; init; }

    /// <summary>Whether the daemon's connection is open.</summary>
    public bool DaemonConnected { get; init; }

    /// <summary>Which daemon since the first one this is.</summary>
    public ulong Incarnation { get; init; }

    /// <summary>Daemons that this keeper started after another one had ended.</summary>
    public int Restarts { get; init; }

    /// <summary>Daemons in a row that died too soon.</summary>
    public int FailuresInARow { get; init; }

    /// <summary>What it is doing.</summary>
    public KeeperState State { get; init; }

    /// <summary>Whether it starts daemons.</summary>
    public bool Supervises { get; init; }

    /// <summary>A number that no other keeper has.</summary>
    public ulong KeeperId { get; init; }

    /// <summary>When this keeper started.</summary>
    public DateTimeOffset StartedAt { get; init; }

    /// <summary>Memory of the keeper that is resident, in bytes.</summary>
    public long ResidentBytes { get; init; }

    /// <summary>What it holds.</summary>
    public IReadOnlyList<KeeperEntryInfo> Entries { get; init; } = [];

    /// <summary>The fixed part as the payload of <see cref="KeeperOpcode.ListReply"/>.</summary>
    public byte[] Pack()
    {
        var bytes = new byte[Bytes];
        var span = bytes.AsSpan();
        BinaryPrimitives.WriteInt32LittleEndian(span, KeeperPid);
        BinaryPrimitives.WriteInt32LittleEndian(span[4..], DaemonPid);
        BinaryPrimitives.WriteUInt64LittleEndian(span[8..], Incarnation);
        BinaryPrimitives.WriteInt32LittleEndian(span[16..], Restarts);
        BinaryPrimitives.WriteInt32LittleEndian(span[20..], FailuresInARow);
        BinaryPrimitives.WriteUInt64LittleEndian(span[24..], KeeperId);
        BinaryPrimitives.WriteInt64LittleEndian(span[32..], StartedAt.ToUnixTimeMilliseconds());
        BinaryPrimitives.WriteInt64LittleEndian(span[40..], ResidentBytes);
        span[48] = (byte)((byte)State | (DaemonConnected ? 0x80 : 0) | (Supervises ? 0x40 : 0));
        return bytes;
    }

    /// <summary>Reads what <see cref="Pack"/> wrote; null when it is something else.</summary>
    public static KeeperStatus? Unpack(ReadOnlySpan<byte> payload)
    {
        if (payload.Length != Bytes)
        {
            return null;
        }

        var startedMs = BinaryPrimitives.ReadInt64LittleEndian(payload[32..]);
        if (startedMs is < 0 or > 253_402_300_799_999)
        {
            return null;
        }

        return new KeeperStatus
        {
            KeeperPid = BinaryPrimitives.ReadInt32LittleEndian(payload),
            DaemonPid = BinaryPrimitives.ReadInt32LittleEndian(payload[4..]),
            Incarnation = BinaryPrimitives.ReadUInt64LittleEndian(payload[8..]),
            Restarts = BinaryPrimitives.ReadInt32LittleEndian(payload[16..]),
            FailuresInARow = BinaryPrimitives.ReadInt32LittleEndian(payload[20..]),
            KeeperId = BinaryPrimitives.ReadUInt64LittleEndian(payload[24..]),
            StartedAt = DateTimeOffset.FromUnixTimeMilliseconds(startedMs),
            ResidentBytes = BinaryPrimitives.ReadInt64LittleEndian(payload[40..]),
            State = (KeeperState)(payload[48] & 0x3f),
            DaemonConnected = (payload[48] & 0x80) != 0,
            Supervises = (payload[48] & 0x40) != 0,
        };
    }
}

/// <summary>What a keeper tells a daemon that attaches, beside the incarnation.</summary>
/// <param name="KeeperId">A number that no other keeper has.</param>
/// <param name="EntryCount">Entries that follow: all for a new daemon, none for one that comes back.</param>
internal readonly record struct KeeperAttachInfo(ulong KeeperId, int EntryCount)
{
    internal byte[] Pack()
    {
        var bytes = new byte[12];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, KeeperId);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(8), EntryCount);
        return bytes;
    }

    internal static bool TryUnpack(ReadOnlySpan<byte> payload, out KeeperAttachInfo info)
    {
        info = default;
        if (payload.Length != 12)
        {
            return false;
        }

        info = new KeeperAttachInfo(BinaryPrimitives.ReadUInt64LittleEndian(payload), BinaryPrimitives.ReadInt32LittleEndian(payload[8..]));
        return info.EntryCount is >= 0 and <= KeeperLimits.MaxEntries;
    }
}
