using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>The arithmetic of INIT: what the kernel offers and what is wanted make what is agreed. Pure.</summary>
public static class FuseNegotiation
{
    /// <summary>Pages in the largest request the kernel allows by default (sysctl <c>fs.fuse.max_pages_limit</c>).</summary>
    public const int MaxPages = 256;

    /// <summary>Pages without the MAX_PAGES flag (<c>FUSE_DEFAULT_MAX_PAGES_PER_REQ</c>).</summary>
    public const int DefaultMaxPages = 32;

    private const int PageBytes = 4096;

    /// <summary>Answers an offer.</summary>
    /// <param name="offer">The kernel's INIT; fields it did not send are 0.</param>
    /// <param name="options">What is wanted.</param>
    /// <param name="reply">What to send; for a newer major version only the version, after which the kernel offers again.</param>
    /// <param name="agreed">The result; null if the kernel will offer again or is refused.</param>
    /// <returns>OK, or EPROTO for a kernel that is too old.</returns>
    public static Errno Answer(in FuseInitIn offer, FuseConnectionOptions options, out FuseInitOut reply, out FuseNegotiated? agreed)
    {
        reply = new FuseInitOut { Major = FuseAbi.KernelVersion, Minor = FuseAbi.NewestMinor };
        agreed = null;
        if (offer.Major > FuseAbi.KernelVersion)
        {
            return Errno.OK;
        }
        if (offer.Major < FuseAbi.KernelVersion || offer.Minor < FuseAbi.OldestMinor)
        {
            return Errno.EPROTO;
        }

        var offered = (FuseInitFlags)offer.Flags;
        if ((offered & FuseInitFlags.INIT_EXT) != 0)
        {
            offered |= (FuseInitFlags)((ulong)offer.Flags2 << 32);
        }
        FuseInitFlags wanted = options.Flags;
        if (options.Passthrough)
        {
            wanted |= FuseInitFlags.PASSTHROUGH;
        }
        if ((wanted & offered & FuseInitFlags.PASSTHROUGH) != 0)
        {
            // The kernel refuses backing files (EPERM) on a connection with a write-back cache.
            wanted &= ~FuseInitFlags.WRITEBACK_CACHE;
        }
        FuseInitFlags flags = wanted & offered;

        int maxPages = (flags & FuseInitFlags.MAX_PAGES) != 0
            ? Math.Clamp((options.MaxWriteBytes + PageBytes - 1) / PageBytes, 1, MaxPages)
            : DefaultMaxPages;
        int maxWrite = Math.Clamp(options.MaxWriteBytes, PageBytes, maxPages * PageBytes);
        int maxReadahead = (int)Math.Min(offer.MaxReadahead, (uint)options.MaxReadaheadBytes);
        int maxBackground = Math.Clamp(options.MaxBackground, 1, ushort.MaxValue);
        int congestion = Math.Max(1, maxBackground * 3 / 4);
        int stackDepth = (flags & FuseInitFlags.PASSTHROUGH) != 0 ? options.MaxStackDepth : 0;

        agreed = new FuseNegotiated(
            Math.Min(offer.Minor, FuseAbi.NewestMinor), flags, maxWrite, maxReadahead, maxPages, maxBackground, congestion,
            options.TimeGranularityNs, stackDepth);
        reply.Minor = agreed.Minor;
        reply.Flags = (uint)flags;
        reply.Flags2 = (uint)((ulong)flags >> 32);
        reply.MaxReadahead = (uint)maxReadahead;
        reply.MaxWrite = (uint)maxWrite;
        reply.MaxPages = (ushort)maxPages;
        reply.MaxBackground = (ushort)maxBackground;
        reply.CongestionThreshold = (ushort)congestion;
        reply.TimeGranularity = (uint)options.TimeGranularityNs;
        reply.MaxStackDepth = (uint)stackDepth;
        return Errno.OK;
    }
}
