using System.IO;
using EphemeralFs.Core;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Rpc;

namespace EphemeralFs.Metadata.Service;

/// <summary>The volumes of the server, in a file that is replaced whole. Ids are never reused: an id below the highest one that is not here was deleted.</summary>
/// <remarks>Layout: magic, version, highest id, count, per volume id, name and whether it is deleted but not yet at all storage servers; CRC32C.</remarks>
internal sealed class Catalogue
{
    private const uint Magic = 0x43534645;
    private const uint Version = 1;
    private readonly string _path;

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
        if (magic != Magic || version != Version)
        {
            throw new DamagedStateException($"{path}: no catalogue in format {Version}");
        }

        HighestId = r.U32();
        for (var count = r.Count(9); count > 0; count--)
        {
            var id = r.U32();
            Volumes[id] = (r.Text(255), r.Bool());
        }

        if (!r.AtEnd)
        {
            throw new DamagedStateException($"{path}: malformed");
        }
    }

    /// <summary>The highest volume id that was ever here.</summary>
    public uint HighestId { get; private set; }

    /// <summary>Volumes by id; deleted ones stay until all storage servers have been told.</summary>
    public SortedDictionary<uint, (string Name, bool Deleted)> Volumes { get; } = [];

    /// <summary>Adds or changes a volume.</summary>
    public void Set(uint id, string name, bool deleted)
    {
        Volumes[id] = (name, deleted);
        HighestId = Math.Max(HighestId, id);
        Save();
    }

    /// <summary>Forgets a deleted volume.</summary>
    public void Remove(uint id)
    {
        Volumes.Remove(id);
        Save();
    }

    private void Save()
    {
        var w = new WireWriter(new byte[1024]);
        w.U32(Magic);
        w.U32(Version);
        w.U32(HighestId);
        w.U32((uint)Volumes.Count);
        foreach (var (id, (name, deleted)) in Volumes)
        {
            w.U32(id);
            w.Text(name);
            w.Bool(deleted);
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
