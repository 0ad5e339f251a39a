using EphemeralFs.Client;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.FuseMount.Mounting;

namespace EphemeralFs.FuseMount.Node;

/// <summary>What this node's kernel caches of a mount, dropped by notifications. It is made before the connection that they go to.</summary>
/// <param name="time">The clock of time-outs.</param>
internal sealed class KernelCache(TimeProvider time) : IKernelCache
{
    /// <summary>How long the kernel may take to forget a name, milliseconds.</summary>
    private const int ForgetNameMs = 100;

    private const ConfigureAwaitOptions Unthrown = ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext;

    private string _mountPoint = "";

    public FuseConnection? Connection { get; set; }

    /// <summary>Whether the kernel may be about to get to know an inode.</summary>
    public Func<ulong, bool> IsOnItsWay { get; set; } = static _ => false;

    /// <summary>The kernel has the mount now.</summary>
    public void Serve(FuseConnection connection, string mountPoint)
    {
        _mountPoint = mountPoint;
        Connection = connection;
    }

    public IReadOnlyDictionary<ulong, string> FindPaths(IReadOnlySet<ulong> inodes) => OpenFilePaths.Find(_mountPoint, inodes);

    public async ValueTask InvalidateAsync(ulong ino)
    {
        if (Connection is { } connection)
        {
            await connection.Notifier.InvalidateInodeAsync(ino);
        }
    }

    /// <remarks>
    /// The kernel needs the directory's lock. A rename of this mount may hold it while its answer waits for another node, which has a rename in flight too
    /// and waits for this one: so whoever has one in flight answers at once, and the name goes when that rename has ended. A name that stays does no harm
    /// but that a rename of what had it can fail with ESTALE.
    /// </remarks>
    public async ValueTask ForgetNameAsync(ulong parent, ReadOnlyMemory<byte> name)
    {
        if (Connection is { } connection)
        {
            Task forgotten = connection.Notifier.InvalidateEntryAsync(parent, name, expireOnly: false).AsTask();
            if (connection.InFlight().Any(request => request.Opcode is FuseOpcode.RENAME or FuseOpcode.RENAME2))
            {
                return;
            }

            await forgotten.WaitAsync(TimeSpan.FromMilliseconds(ForgetNameMs), time).ConfigureAwait(Unthrown);
        }
    }

    /// <remarks>
    /// The kernel needs the directory's lock, which an operation of this mount may hold that waits for the other node: then the name is dropped when that has
    /// ended, and until then it has expired. A name that has changed is dropped for good: a look-up under way would give it a new time-out.
    /// </remarks>
    public async ValueTask RecallNameAsync(ulong parent, ReadOnlyMemory<byte> name, long untilMs, bool expireOnly)
    {
        if (Connection is { } connection)
        {
            Task dropped = connection.Notifier.InvalidateEntryAsync(parent, name, expireOnly).AsTask();
            var left = TimeSpan.FromMilliseconds(Math.Max(0, untilMs - time.NowMs()));
            await dropped.WaitAsync(left, time).ConfigureAwait(Unthrown);
        }
    }

    /// <remarks>An inode that the kernel does not know yet comes with an answer that is still on its way through the program that asked: it is told again then.</remarks>
    public async ValueTask RecallAttributesAsync(ulong ino)
    {
        if (Connection is { } connection)
        {
            while (await connection.Notifier.InvalidateInodeAsync(ino, offset: -1) == Errno.ENOENT && IsOnItsWay(ino))
            {
                await Task.Delay(TimeSpan.FromMilliseconds(1), time);
            }
        }
    }
}
