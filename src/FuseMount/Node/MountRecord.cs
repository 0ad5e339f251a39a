using System.Text.Json;
using System.Text.Json.Serialization;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.FuseMount.Node;

/// <summary>What the keeper holds of a mount beside its descriptors: everything that a successor cannot ask anybody.</summary>
public sealed record MountRecord(
    string Id, string Volume, string Directory, string Options, string MetadataEndpoint, bool ByFusermount, FuseNegotiated Negotiated)
{
    public byte[] Serialize() => JsonSerializer.SerializeToUtf8Bytes(this, MountRecordJson.Default.MountRecord);

    /// <summary>Reads what <see cref="Serialize"/> wrote; throws <see cref="JsonException"/> otherwise.</summary>
    public static MountRecord Deserialize(ReadOnlySpan<byte> bytes) =>
        JsonSerializer.Deserialize(bytes, MountRecordJson.Default.MountRecord) ?? throw new JsonException("empty mount record");
}

[JsonSerializable(typeof(MountRecord))]
internal sealed partial class MountRecordJson : JsonSerializerContext;
