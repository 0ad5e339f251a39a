using EphemeralFs.Interop;

namespace EphemeralFs.FuseMount.Keeper;

/// <summary>Every bound of the keeper with its reason.</summary>
public static class KeeperLimits
{
    /// <summary>Longest key in UTF-8 bytes: "mount:" and an id, with room.</summary>
    public const int MaxKeyBytes = 255;

    /// <summary>Longest payload of one entry in bytes: negotiated settings and backing ids, not data (data is in a memfd).</summary>
    public const int MaxPayloadBytes = 64 * 1024;

    /// <summary>Descriptors of one entry: a session and its clones, one for each worker.</summary>
    public const int MaxFdsPerEntry = FdPassing.MaxFds;

    /// <summary>Entries: twice the mounts that one node was measured with (500), each with shared memory of its own, and room.</summary>
    public const int MaxEntries = 4096;

    /// <summary>All payloads together in bytes: keeps the keeper small whatever the daemon does.</summary>
    public const int MaxTotalPayloadBytes = 16 * 1024 * 1024;

    /// <summary>All descriptors together; RLIMIT_NOFILE may be reached before.</summary>
    public const int MaxTotalFds = 65536;

    /// <summary>Connections at the same time: one daemon, its predecessor, and tools.</summary>
    public const int MaxConnections = 64;

    /// <summary>Arguments of a command line for the daemon.</summary>
    public const int MaxCommandArguments = 256;

    /// <summary>Messages taken from one connection before the others have their turn.</summary>
    public const int MessagesPerTurn = 64;

    /// <summary>Longest message: header, key and payload.</summary>
    public const int MaxMessageBytes = KeeperFrame.HeaderBytes + MaxKeyBytes + MaxPayloadBytes;

    /// <summary>Longest deadline that a request may ask for, in milliseconds.</summary>
    public const int MaxDeadlineMs = 600_000;

    /// <summary>
    /// How often the keeper looks at a running daemon in /proc, in milliseconds: the one death that the kernel does not report is that of a
    /// process stuck in a notification (see <see cref="ProcessControlThreads"/>). One look costs about 20 µs.
    /// </summary>
    public const int WatchIntervalMs = 100;

    /// <summary>
    /// Bytes that the keeper's thread may allocate before garbage is collected in a quiet moment. By itself the runtime lets garbage grow to
    /// the size of the CPU's cache: measured, 52 MiB resident after twenty minutes instead of 34.
    /// </summary>
    public const int GarbageBytes = 512 * 1024;
}
