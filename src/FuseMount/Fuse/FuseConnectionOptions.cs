using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>How a connection negotiates and runs. Numbers are asked for; <see cref="FuseNegotiated"/> says what was agreed.</summary>
public sealed record FuseConnectionOptions
{
    /// <summary>What is asked for if the kernel offers it.</summary>
    /// <remarks>
    /// Not in it on purpose: WRITEBACK_CACHE (no gain for streams here, and it excludes passthrough), EXPLICIT_INVAL_DATA (an open
    /// of a changed file must drop its pages), EXPORT_SUPPORT (no lookups of "." by number), POSIX_ACL and DONT_MASK (ACLs are
    /// not kept, so the kernel applies the umask), the splice flags (a loss here), OVER_IO_URING (requests in flight do not survive a crash).
    /// </remarks>
    public const FuseInitFlags DefaultFlags =
        FuseInitFlags.ASYNC_READ | FuseInitFlags.POSIX_LOCKS | FuseInitFlags.ATOMIC_O_TRUNC | FuseInitFlags.BIG_WRITES
        | FuseInitFlags.FLOCK_LOCKS | FuseInitFlags.HAS_IOCTL_DIR | FuseInitFlags.AUTO_INVAL_DATA | FuseInitFlags.DO_READDIRPLUS
        | FuseInitFlags.READDIRPLUS_AUTO | FuseInitFlags.ASYNC_DIO | FuseInitFlags.PARALLEL_DIROPS | FuseInitFlags.HANDLE_KILLPRIV_V2
        | FuseInitFlags.ABORT_ERROR | FuseInitFlags.MAX_PAGES | FuseInitFlags.CACHE_SYMLINKS | FuseInitFlags.SETXATTR_EXT
        | FuseInitFlags.INIT_EXT | FuseInitFlags.HAS_EXPIRE_ONLY | FuseInitFlags.DIRECT_IO_ALLOW_MMAP | FuseInitFlags.NO_EXPORT_SUPPORT
        | FuseInitFlags.HAS_RESEND;

    /// <summary>Flags asked for; those that the kernel does not offer are left out.</summary>
    public FuseInitFlags Flags { get; init; } = DefaultFlags;

    /// <summary>Asks for passthrough (FUSE 7.40, needs CAP_SYS_ADMIN when a backing file is registered).</summary>
    public bool Passthrough { get; init; }

    /// <summary>Stacking depth for backing files: 1 leaves room for an overlay on top of the mount, 2 allows a backing on overlayfs.</summary>
    public int MaxStackDepth { get; init; } = 1;

    /// <summary>Largest WRITE, bytes. 1 MiB measured best for streams; the kernel's own limit is 256 pages.</summary>
    public int MaxWriteBytes { get; init; } = 1 << 20;

    /// <summary>Largest read-ahead, bytes; the kernel lowers it to the device's <c>read_ahead_kb</c>.</summary>
    public int MaxReadaheadBytes { get; init; } = 1 << 20;

    /// <summary>Background requests in flight. The kernel's default of 12 starves read-ahead over a network.</summary>
    public int MaxBackground { get; init; } = 64;

    /// <summary>Granularity of time stamps, ns.</summary>
    public int TimeGranularityNs { get; init; } = 1;

    /// <summary>Reader threads, each on its own clone of the descriptor.</summary>
    public int Workers { get; init; } = 2;

    /// <summary>How long to wait for the kernel's INIT after mounting, ms.</summary>
    public int InitTimeoutMs { get; init; } = 10_000;

    /// <summary>Largest request that is copied out of the reader's buffer, bytes; above it the buffer itself moves to the request.</summary>
    /// <remarks>Names, locks and small writes fit; a thousand blocked locks then cost 8 MiB, not a gigabyte.</remarks>
    public int SmallRequestBytes { get; init; } = 8192;

    /// <summary>Idle requests that are kept.</summary>
    public int IdleRequests { get; init; } = 1024;

    /// <summary>Does not reuse request objects, so that a second reply is found for certain; for tests and debugging.</summary>
    public bool DetectMisuse { get; init; }

    /// <summary>Told of exceptions in handlers and of misuse. Must not throw.</summary>
    public Action<FuseFault>? OnFault { get; init; }

    /// <summary>Where trace lines go; null turns tracing off (one branch per request). See <see cref="FuseTrace.FromEnvironment"/>.</summary>
    public Action<string>? Trace { get; init; }

    /// <summary>Takes notifications in place of the threads that write them to the descriptor, given the queue that they would wait in: for a kernel that is simulated.</summary>
    internal Func<FuseNotification, FuseNotifyQueue, ValueTask<Errno>>? TakeNotification { get; init; }

    /// <summary>Operations slower than this are told to <see cref="OnSlow"/>, ms; 0 turns it off. Waiting locks are not counted.</summary>
    public int SlowOperationMs { get; init; }

    /// <summary>Told of slow operations, after their reply. Must not throw.</summary>
    public Action<FuseFinishedOperation>? OnSlow { get; init; }

    /// <summary>Told of operations that were answered EIO, which does not tell the program why. Must not throw.</summary>
    public Action<FuseFinishedOperation>? OnIoError { get; init; }
}

/// <summary>A fault that cost one request its answer (it was answered EIO), or none.</summary>
/// <param name="Opcode">The operation, or 0 if it could not be read.</param>
/// <param name="Unique">The request's number, without the resend bit.</param>
/// <param name="What">One line.</param>
/// <param name="Exception">The exception, if there was one.</param>
public readonly record struct FuseFault(FuseOpcode Opcode, ulong Unique, string What, Exception? Exception);

/// <summary>An operation that was answered.</summary>
public readonly record struct FuseFinishedOperation(FuseOpcode Opcode, ulong Unique, ulong NodeId, uint Pid, double ElapsedMs, Errno Result);
