using System.IO;
using EphemeralFs.Core;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Service;

/// <summary>
/// The volumes of the server with what is kept of them for the controller, and the servers of which it has heard, in a file that is replaced whole. Ids are never
/// reused: an id below the highest one that is not here was deleted.
/// </summary>
/// <remarks>Layout: magic, version, highest id, volumes (count; each id, name, whether it is deleted but its blocks are not yet, id and name of the volume that it is a
/// copy of, properties), servers (count; each as on the wire); CRC32C.</remarks>
internal sealed class Catalogue
{
    private const uint Magic = 0x43534645;
    private const uint Version = 3;
    private readonly string _path;
    private SortedDictionary<uint, CatalogueEntry> _volumes = [];
    private volatile KnownServer[] _servers = [];

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
        if (r.U32() != Magic)
        {
            throw new DamagedStateException($"{path}: no catalogue");
        }

        if (r.U32() is var version && version != Version)
        {
            throw new DamagedStateException($"{path}: a catalogue in format {version}, and this program reads format {Version} only: another version of it has written this");
        }

        HighestId = r.U32();
        for (var count = r.Count(CatalogueEntry.MinBytes); count > 0; count--)
        {
            var id = r.U32();
            _volumes[id] = new CatalogueEntry(r.Text(255), r.Bool(), r.U32(), r.Text(255), VolumeProperties.Read(ref r));
        }

        _servers = r.List<KnownServer>(KnownServer.MinBytes);
        if (!r.AtEnd)
        {
            throw new DamagedStateException($"{path}: malformed");
        }
    }

    /// <summary>The highest volume id that was ever here.</summary>
    public uint HighestId { get; private set; }

    /// <summary>Volumes by id; deleted ones stay until their blocks are deleted everywhere.</summary>
    public IReadOnlyDictionary<uint, CatalogueEntry> Volumes => _volumes;

    /// <summary>Servers of which the controller has ever told. May be read by anybody.</summary>
    public KnownServer[] Servers => _servers;

    /// <summary>Adds a volume.</summary>
    /// <param name="id">Its id.</param>
    /// <param name="name">Its name.</param>
    /// <param name="source">The volume that it is a copy of, or 0.</param>
    /// <param name="sourceName">The name of that one when it was copied.</param>
    /// <param name="properties">Kept for the controller.</param>
    public void Add(uint id, string name, uint source, string sourceName = "", VolumeProperties properties = default) =>
        Replace(id, new CatalogueEntry(name, Deleted: false, source, sourceName, properties));

    /// <summary>Replaces what is kept of a volume for the controller.</summary>
    public void Keep(uint id, VolumeProperties properties) => Replace(id, _volumes[id] with { Properties = properties });

    /// <summary>Marks a volume as deleted: its name and quota are free, its blocks are not yet.</summary>
    public void MarkDeleted(uint id) => Replace(id, _volumes[id] with { Deleted = true });

    /// <summary>Forgets a deleted volume.</summary>
    public void Remove(uint id) => Replace(id, null);

    /// <summary>Replaces the servers.</summary>
    public void Keep(KnownServer[] servers)
    {
        Save(_volumes, HighestId, servers);
        _servers = servers;
    }

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
        Save(volumes, highestId, _servers);
        (_volumes, HighestId) = (volumes, highestId);
    }

    private void Save(SortedDictionary<uint, CatalogueEntry> volumes, uint highestId, KnownServer[] servers)
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
            w.Text(entry.SourceName);
            entry.Properties.Write(ref w);
        }

        w.List(servers);
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
/// <param name="SourceName">The name of that one when it was copied.</param>
/// <param name="Properties">Kept for the controller.</param>
internal sealed record CatalogueEntry(string Name, bool Deleted, uint Source, string SourceName, VolumeProperties Properties)
{
    /// <summary>Smallest size in the file, for the bound of the count.</summary>
    public const int MinBytes = 33;
}
