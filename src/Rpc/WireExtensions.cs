using EphemeralFs.Core;

namespace EphemeralFs.Rpc;

/// <summary>Compound values that several messages share.</summary>
public static class WireExtensions
{
    private const int ExtentBytes = 32;

    public static void Attributes(this ref WireWriter w, in InodeAttributes a)
    {
        w.U64(a.Ino);
        w.U32(a.Generation);
        w.U32(a.Mode);
        w.U32(a.Nlink);
        w.U32(a.Uid);
        w.U32(a.Gid);
        w.U32(a.Rdev);
        w.U64(a.Size);
        w.U64(a.AllocatedBytes);
        w.I64(a.AtimeNs);
        w.I64(a.MtimeNs);
        w.I64(a.CtimeNs);
        w.I64(a.BtimeNs);
        w.U64(a.DataVersion);
        w.U32((uint)a.Flags);
    }

    public static InodeAttributes Attributes(this ref WireReader r) => new()
    {
        Ino = r.U64(),
        Generation = r.U32(),
        Mode = r.U32(),
        Nlink = r.U32(),
        Uid = r.U32(),
        Gid = r.U32(),
        Rdev = r.U32(),
        Size = r.U64(),
        AllocatedBytes = r.U64(),
        AtimeNs = r.I64(),
        MtimeNs = r.I64(),
        CtimeNs = r.I64(),
        BtimeNs = r.I64(),
        DataVersion = r.U64(),
        Flags = (InodeFlags)r.U32(),
    };

    public static void Extents(this ref WireWriter w, Extent[] extents)
    {
        w.U32((uint)extents.Length);
        foreach (ref readonly var e in extents.AsSpan())
        {
            w.U64(e.FileOffset);
            w.U64(e.Length);
            w.U64(e.BlockId);
            w.U32(e.BlockOffset);
            w.U32(e.Server);
        }
    }

    public static Extent[] Extents(this ref WireReader r)
    {
        var count = r.Count(ExtentBytes);
        var extents = count == 0 ? [] : new Extent[count];
        for (var i = 0; i < count; i++)
        {
            extents[i] = new Extent(r.U64(), r.U64(), r.U64(), r.U32(), r.U32());
        }

        return extents;
    }

    public static void U64Array(this ref WireWriter w, ulong[] values)
    {
        w.U32((uint)values.Length);
        foreach (var value in values)
        {
            w.U64(value);
        }
    }

    public static ulong[] U64Array(this ref WireReader r)
    {
        var values = new ulong[r.Count(sizeof(ulong))];
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = r.U64();
        }

        return values;
    }

    public static void U32Array(this ref WireWriter w, uint[] values)
    {
        w.U32((uint)values.Length);
        foreach (var value in values)
        {
            w.U32(value);
        }
    }

    public static uint[] U32Array(this ref WireReader r)
    {
        var values = new uint[r.Count(sizeof(uint))];
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = r.U32();
        }

        return values;
    }

    public static void List<T>(this ref WireWriter w, T[] items)
        where T : struct, IWireMessage<T>
    {
        w.U32((uint)items.Length);
        foreach (ref readonly var item in items.AsSpan())
        {
            item.Write(ref w);
        }
    }

    /// <summary>A list whose elements take at least <paramref name="elementBytes"/> each.</summary>
    public static T[] List<T>(this ref WireReader r, int elementBytes)
        where T : struct, IWireMessage<T>
    {
        var items = new T[r.Count(elementBytes)];
        for (var i = 0; i < items.Length; i++)
        {
            items[i] = T.Read(ref r);
        }

        return items;
    }
}
