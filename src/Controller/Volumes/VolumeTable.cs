using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Controller.Volumes;

/// <summary>A volume as the controller knows it.</summary>
/// <param name="Id">1 … 2^24−1, never reused: block ids carry it.</param>
/// <param name="Name">Its name.</param>
/// <param name="MetadataServer">Name of the metadata server that it lives on.</param>
/// <param name="LimitBytes">Quota, 0 for none.</param>
/// <param name="LimitInodes">Quota, 0 for none.</param>
public sealed record Volume(uint Id, string Name, string MetadataServer, ulong LimitBytes, ulong LimitInodes)
{
    /// <summary>How it will be used, as <see cref="Core.VolumeHints"/> writes it.</summary>
    public string Hints { get; init; } = "";

    /// <summary>Kept for whoever made it.</summary>
    public IReadOnlyList<Label> Labels { get; init; } = [];

    /// <summary>The volume whose content it began with; empty for none. It may be gone.</summary>
    public string Source { get; init; } = "";

    /// <summary>Its id; 0 for none.</summary>
    public uint SourceId { get; init; }

    /// <summary>When it was asked for, nanoseconds since the epoch.</summary>
    public long CreatedNs { get; init; }

    /// <summary>Whether a request asks for this volume.</summary>
    public bool IsWhatIsAsked(in AddVolumeRequest request) =>
        (LimitBytes, LimitInodes, Hints, Source) == (request.LimitBytes, request.LimitInodes, request.Hints, request.Source)
        && Labels.SequenceEqual(request.Labels ?? []);
}

/// <summary>The volumes by name, and the ids that were given out. Not thread-safe; the service has one lock.</summary>
public sealed class VolumeTable
{
    /// <summary>Largest id: 24 bits of a block id.</summary>
    public const uint MaxId = (1u << 24) - 1;

    private readonly SortedDictionary<string, Volume> _volumes = new(StringComparer.Ordinal);
    private readonly Dictionary<uint, Volume> _byId = [];

    /// <summary>The largest id that was ever given out.</summary>
    public uint LastId { get; private set; }

    /// <summary>By name.</summary>
    public IReadOnlyCollection<Volume> All => _volumes.Values;

    /// <summary>The volume of that name, or null.</summary>
    public Volume? Find(string name) => _volumes.GetValueOrDefault(name);

    /// <summary>The volume with that id, or null.</summary>
    public Volume? Find(uint id) => _byId.GetValueOrDefault(id);

    /// <summary>Remembers a volume.</summary>
    public void Add(Volume volume)
    {
        _volumes[volume.Name] = volume;
        _byId[volume.Id] = volume;
        Used(volume.Id);
    }

    /// <summary>Forgets a volume; its id stays used.</summary>
    public void Remove(uint id)
    {
        if (_byId.Remove(id, out var volume))
        {
            _volumes.Remove(volume.Name);
        }
    }

    /// <summary>Ids up to this one are not given out again.</summary>
    public void Used(uint id) => LastId = Math.Max(LastId, id);
}
