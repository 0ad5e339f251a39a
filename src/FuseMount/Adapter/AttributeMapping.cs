using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.FuseMount.Adapter;

/// <summary>Attributes in the kernel's structures. Time-outs are those of the lease, 0 without one: then the kernel asks each time.</summary>
internal static class AttributeMapping
{
    private const long NanosecondsPerSecond = 1_000_000_000;
    private const long NanosecondsPerMillisecond = 1_000_000;
    private const long MillisecondsPerSecond = 1000;

    /// <summary>STATX_BASIC_STATS | STATX_BTIME.</summary>
    private const uint StatxMask = 0x7FF | 0x800;

    public static FuseAttr ToFuse(in InodeAttributes a) => new()
    {
        Ino = a.Ino,
        Size = a.Size,
        Blocks = a.AllocatedBytes / 512,
        Atime = (ulong)Seconds(a.AtimeNs),
        Mtime = (ulong)Seconds(a.MtimeNs),
        Ctime = (ulong)Seconds(a.CtimeNs),
        AtimeNsec = Nanoseconds(a.AtimeNs),
        MtimeNsec = Nanoseconds(a.MtimeNs),
        CtimeNsec = Nanoseconds(a.CtimeNs),
        Mode = a.Mode,
        Nlink = a.Nlink,
        Uid = a.Uid,
        Gid = a.Gid,
        Rdev = a.Rdev,
        BlockSize = Limits.PageSizeBytes,
    };

    /// <param name="a">The inode.</param>
    /// <param name="life">Added to its generation.</param>
    /// <param name="nameMs">For how long the kernel may use the name, milliseconds.</param>
    /// <param name="attributesMs">For how long it may use the attributes.</param>
    public static FuseEntryOut ToEntry(in InodeAttributes a, uint life, long nameMs = 0, long attributesMs = 0) => new()
    {
        NodeId = a.Ino,
        Generation = a.Generation + life,
        Attr = ToFuse(a),
        EntryValid = (ulong)(nameMs / MillisecondsPerSecond),
        EntryValidNsec = (uint)(nameMs % MillisecondsPerSecond * NanosecondsPerMillisecond),
        AttrValid = (ulong)(attributesMs / MillisecondsPerSecond),
        AttrValidNsec = (uint)(attributesMs % MillisecondsPerSecond * NanosecondsPerMillisecond),
    };

    public static FuseAttrOut ToAttrOut(in InodeAttributes a, long attributesMs = 0) => new()
    {
        Attr = ToFuse(a),
        AttrValid = (ulong)(attributesMs / MillisecondsPerSecond),
        AttrValidNsec = (uint)(attributesMs % MillisecondsPerSecond * NanosecondsPerMillisecond),
    };

    public static FuseStatxOut ToStatx(in InodeAttributes a, long attributesMs = 0) => new()
    {
        AttrValid = (ulong)(attributesMs / MillisecondsPerSecond),
        AttrValidNsec = (uint)(attributesMs % MillisecondsPerSecond * NanosecondsPerMillisecond),
        Stat = new FuseStatx
        {
            Mask = StatxMask,
            BlockSize = Limits.PageSizeBytes,
            Nlink = a.Nlink,
            Uid = a.Uid,
            Gid = a.Gid,
            Mode = (ushort)a.Mode,
            Ino = a.Ino,
            Size = a.Size,
            Blocks = a.AllocatedBytes / 512,
            Atime = Time(a.AtimeNs),
            Btime = Time(a.BtimeNs),
            Ctime = Time(a.CtimeNs),
            Mtime = Time(a.MtimeNs),
            RdevMajor = (a.Rdev >> 8) & 0xFFF,
            RdevMinor = (a.Rdev & 0xFF) | ((a.Rdev >> 12) & 0xFFF00),
        },
    };

    /// <summary>A time outside 1677 to 2262 is held at the end of that range, as file systems with a smaller range than the kernel's do.</summary>
    public static long FromFuse(ulong seconds, uint nanoseconds) => (long)Int128.Clamp(
        ((Int128)(long)seconds * NanosecondsPerSecond) + nanoseconds, long.MinValue, long.MaxValue);

    private static long Seconds(long ns) => Math.DivRem(ns, NanosecondsPerSecond) is var (s, rest) && rest < 0 ? s - 1 : ns / NanosecondsPerSecond;

    private static uint Nanoseconds(long ns) => (uint)(ns - (Seconds(ns) * NanosecondsPerSecond));

    private static FuseSxTime Time(long ns) => new() { Seconds = Seconds(ns), Nanoseconds = Nanoseconds(ns) };
}
