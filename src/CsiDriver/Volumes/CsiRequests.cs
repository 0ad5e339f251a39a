using EphemeralFs.Core;
using EphemeralFs.CsiDriver.Cluster;
using EphemeralFs.CsiDriver.Csi;
using EphemeralFs.CsiDriver.Grpc;
using Google.Protobuf.Collections;
using AccessMode = EphemeralFs.CsiDriver.Csi.VolumeCapability.Types.AccessMode.Types.Mode;

namespace EphemeralFs.CsiDriver.Volumes;

/// <summary>Checks of what requests have in common; what is wrong is INVALID_ARGUMENT and names the field.</summary>
internal static class CsiRequests
{
    /// <summary>Longest string, bytes (CSI specification, "Size Limits"; ids of nodes may be longer).</summary>
    private const int TextMaxBytes = 128;

    /// <summary>Longest path, PATH_MAX − 1.</summary>
    private const int PathMaxBytes = 4095;

    /// <summary>Above what can be promised to anybody: 1 EiB.</summary>
    private const long CapacityMaxBytes = 1L << 60;

    private const string ReservedPrefix = "csi.storage.k8s.io/";

    private static readonly string[] s_mountFlags = ["ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "noatime"];

    /// <summary>A failed check.</summary>
    public static GrpcException Invalid(string message) => new(GrpcStatusCode.InvalidArgument, message);

    /// <summary>The text, which must be there.</summary>
    public static string Required(string value, string field) =>
        value.Length == 0 ? throw Invalid($"{field} is missing")
        : System.Text.Encoding.UTF8.GetByteCount(value) > TextMaxBytes ? throw Invalid($"{field} has more than {TextMaxBytes} bytes")
        : value;

    /// <summary>A path, which must be there.</summary>
    public static string RequiredPath(string value, string field) =>
        value.Length == 0 ? throw Invalid($"{field} is missing")
        : System.Text.Encoding.UTF8.GetByteCount(value) > PathMaxBytes ? throw Invalid($"{field} has more than {PathMaxBytes} bytes")
        : value.Split('/').Any(static part => System.Text.Encoding.UTF8.GetByteCount(part) > Limits.NameMaxBytes)
            ? throw Invalid($"{field} has a part of more than {Limits.NameMaxBytes} bytes")
        : value;

    /// <summary>A name, which must be there.</summary>
    public static string RequiredName(string value) => CsiNames.Problem(value) is { } problem ? throw Invalid(problem) : value;

    /// <summary>Checks capabilities, of which there must be one; what the driver cannot do is said.</summary>
    public static void Check(RepeatedField<VolumeCapability> capabilities)
    {
        if (capabilities.Count == 0)
        {
            throw Invalid("volume_capabilities is missing");
        }

        foreach (var capability in capabilities)
        {
            Check(capability);
        }
    }

    /// <summary>Checks a capability, which must be there.</summary>
    public static void Check(VolumeCapability? capability)
    {
        if (Problem(capability) is { } problem)
        {
            throw Invalid(problem);
        }
    }

    /// <summary>Why a capability cannot be had; null when it can.</summary>
    public static string? Problem(VolumeCapability? capability) =>
        capability is null ? "volume_capability is missing"
        : capability.Block is not null ? "volume_capability.block: this is a file system; use volumeMode: Filesystem"
        : capability.Mount is null ? "volume_capability.access_type is missing"
        : capability.AccessMode is null or { Mode: AccessMode.Unknown } || !Enum.IsDefined(capability.AccessMode.Mode) ? "volume_capability.access_mode is missing"
        : capability.Mount.FsType is not "" and not "ephemeralfs" ? $"volume_capability.mount.fs_type '{capability.Mount.FsType}': leave it out, the file system is always ephemeralfs"
        : capability.Mount.MountFlags.FirstOrDefault(flag => !s_mountFlags.Contains(flag)) is { } unknown
            ? $"volume_capability.mount.mount_flags: unknown flag '{unknown}'; known are {string.Join(", ", s_mountFlags)}"
        : capability.Mount.VolumeMountGroup.Length > 0 && !uint.TryParse(capability.Mount.VolumeMountGroup, out _)
            ? $"volume_capability.mount.volume_mount_group '{capability.Mount.VolumeMountGroup}' is no number of a group"
        : null;

    /// <summary>What of parameters is not the provisioner's own: <c>csi.storage.k8s.io/…</c> names the claim and the like.</summary>
    public static IEnumerable<KeyValuePair<string, string>> Own(MapField<string, string> parameters) =>
        parameters.Where(pair => !pair.Key.StartsWith(ReservedPrefix, StringComparison.Ordinal));

    /// <summary>The wish with more of the vocabulary.</summary>
    /// <param name="wish">What was said before.</param>
    /// <param name="pairs">More of it, which counts more.</param>
    /// <param name="field">Where it stands in the request.</param>
    public static VolumeWish Add(VolumeWish wish, IEnumerable<KeyValuePair<string, string>> pairs, string field) =>
        VolumeWish.TryAdd(wish, pairs, out var result) is { } wrong ? throw Invalid($"{field}: {wrong}") : result;

    /// <summary>The wish with what the annotations of a claim say more.</summary>
    public static VolumeWish AddAnnotations(VolumeWish wish, IReadOnlyList<KeyValuePair<string, string>> hints) =>
        hints.Any(hint => hint.Key == "size")
            ? throw Invalid($"annotation {ClaimAnnotations.Prefix}size: a claim says its size in spec.resources.requests.storage")
            : Add(wish, hints, $"annotations of the claim ({ClaimAnnotations.Prefix}…)");

    /// <summary>Bytes of a capacity range; 0 when it asks for none.</summary>
    public static ulong Capacity(CapacityRange? range)
    {
        if (range is null)
        {
            return 0;
        }

        if (range.RequiredBytes < 0 || range.LimitBytes < 0)
        {
            throw Invalid($"capacity_range.{(range.RequiredBytes < 0 ? "required_bytes" : "limit_bytes")} is negative");
        }

        if (range.RequiredBytes == 0 && range.LimitBytes == 0)
        {
            throw Invalid("capacity_range: required_bytes and limit_bytes are both 0; leave it out for no limit");
        }

        if (range.LimitBytes > 0 && range.LimitBytes < range.RequiredBytes)
        {
            throw Invalid("capacity_range.limit_bytes is below required_bytes");
        }

        return range.RequiredBytes > CapacityMaxBytes
            ? throw new GrpcException(GrpcStatusCode.OutOfRange, $"capacity_range.required_bytes is above {CapacityMaxBytes}")
            : (ulong)(range.RequiredBytes > 0 ? range.RequiredBytes : Math.Min(range.LimitBytes, CapacityMaxBytes));
    }

    /// <summary>Whether a volume of this size is what a range asks for.</summary>
    public static bool Fits(ulong bytes, CapacityRange? range) =>
        range is null || (bytes >= (ulong)range.RequiredBytes && (range.LimitBytes == 0 || bytes <= (ulong)range.LimitBytes));
}
