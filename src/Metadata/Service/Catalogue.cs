using System.IO;
using EphemeralFs.Core;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Rpc;

namespace EphemeralFs.Metadata.Service;

/// <summary>The volumes of the server, in a file that is replaced whole. Ids are never reused: an id below the highest one that is not here was deleted.</summary>
/// <remarks>Layout: magic, version, highest id, count, per volume id, name, whether it is deleted but its blocks are not yet, and the volume that it is a copy
/// of (0 for none; not in format 1, which knows no copies); CRC32C.</remarks>
internal sealed class Catalogue
{
    private const uint Magic = 0x43534645;
    private const uint Version = 2;
    private const uint VersionWithoutCopies = 1;
    private readonly string _path;
    private SortedDictionary<uint, CatalogueEntry> _volumes = [];

    /// <summary>Reads the file; one that does not exist is an empty catalogue.</summary>
    /// <exception cref="DamagedStateException">The file is not whole or of another format.</exception>
    public Catalogue(string path)
    {
        _path = path;
        File.Delete(path + ".tmp");
        if (!File.Exists(path))
        {
            return;
        }

        var bytes = File.ReadAllBytes(path);
        if (bytes.Length < 8 || BitConverter.ToUInt32(bytes, bytes.Length - 4) != Crc32C.Compute(bytes.AsSpan(0, bytes.Length - 4)))
        {
            throw new DamagedStateException($"{path}: not whole (its checksum does not match)");
        }

        var r = new WireReader(bytes.AsMemory(0, bytes.Length - 4), copy: true);
        var magic = r.U32();
        var version = r.U32();
        if (magic != Magic || version is not (Version or VersionWithoutCopies))
        {
            throw new DamagedStateException($"{path}: no catalogue in format {VersionWithoutCopies} or {Version}");
        }

        HighestId = r.U32();
        for (var count = r.Count(9); count > 0; count--)
        {
            var id = r.U32();
            _volumes[id] = new CatalogueEntry(r.Text(255), r.Bool(), version == VersionWithoutCopies ? 0 : r.U32());
        }

        if (!r.AtEnd)
        {
            throw new DamagedStateException($"{path}: malformed");
        }
    }

    /// <summary>The highest volume id that was ever here.</summary>
    public uint HighestId { get; private set; }

    /// <summary>Volumes by id; deleted ones stay until their blocks are deleted everywhere.</summary>
    public IReadOnlyDictionary<uint, CatalogueEntry> Volumes => _volumes;

    /// <summary>Adds a volume.</summary>
    /// <param name="id">Its id.</param>
    /// <param name="name">Its name.</param>
    /// <param name="source">The volume that it is a copy of, or 0.</param>
    public void Add(uint id, string name, uint source) => Replace(id, new CatalogueEntry(name, Deleted: false, source));

    /// <summary>Marks a volume as deleted: its name and quota are free, its blocks are not yet.</summary>
    public void MarkDeleted(uint id) => Replace(id, _volumes[id] with { Deleted = true });

    /// <summary>Forgets a deleted volume.</summary>
    public void Remove(uint id) => Replace(id, null);

    /// <summary>Writes the file first: when that fails, everything is as it was.</summary>
    private void Replace(uint id, CatalogueEntry? entry)
    {
        var volumes = new SortedDictionary<uint, CatalogueEntry>(_volumes);
        if (entry is null)
        {
            volumes.Remove(id);
        }
        else
        {
            volumes[id] = entry;
        }

        var highestId = Math.Max(HighestId, id);
        Save(volumes, highestId);
        (_volumes, HighestId) = (volumes, highestId);
    }

    private void Save(SortedDictionary<uint, CatalogueEntry> volumes, uint highestId)
    {
        var w = new WireWriter(new byte[1024]);
        w.U32(Magic);
        w.U32(Version);
        w.U32(highestId);
        w.U32((uint)volumes.Count);
        foreach (var (id, entry) in volumes)
        {
            w.U32(id);
            w.Text(entry.Name);
            w.Bool(entry.Deleted);
            w.U32(entry.Source);
        }

        w.U32(Crc32C.Compute(w.Written));
        using (var file = new FileStream(_path + ".tmp", System.IO.FileMode.Create, FileAccess.Write))
        {
            file.Write(w.Written);
            file.Flush(flushToDisk: true);
        }

        File.Move(_path + ".tmp", _path, overwrite: true);
    }
}

/// <summary>A volume in the catalogue.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Deleted">Whether it is deleted and not all of its blocks are.</param>
/// <param name="Source">The volume that it is a copy of, or 0. Only a copy refers to blocks of other volumes.</param>
internal sealed record CatalogueEntry(string Name, bool Deleted, uint Source);
