using System.Diagnostics;
using System.Text.RegularExpressions;
using k8s;
using k8s.Models;

namespace EphemeralFs.Tests.Integration.Deploy;

/// <summary>Manifests as the API server would get them: rendered by kubectl, read strictly (an unknown field is an error) into the API's types.</summary>
internal sealed partial class Manifests
{
    private static readonly Dictionary<string, Type> s_otherTypes = new(StringComparer.Ordinal)
    {
        ["snapshot.storage.k8s.io/v1/VolumeSnapshotClass"] = typeof(VolumeSnapshotClass),
        ["snapshot.storage.k8s.io/v1/VolumeSnapshot"] = typeof(VolumeSnapshot),
        ["groupsnapshot.storage.k8s.io/v1/VolumeGroupSnapshotClass"] = typeof(VolumeSnapshotClass),
        ["groupsnapshot.storage.k8s.io/v1/VolumeGroupSnapshot"] = typeof(VolumeGroupSnapshot),
        ["serving.knative.dev/v1/Service"] = typeof(KnativeService),
        ["fission.io/v1/Environment"] = typeof(FissionEnvironment),
    };

    private Manifests(string yaml) => All = KubernetesYaml.LoadAllFromString(yaml, s_otherTypes, strict: true);

    /// <summary>Every document.</summary>
    public List<object> All { get; }

    /// <summary>What makes pods, by name.</summary>
    public IReadOnlyList<Workload> Workloads =>
    [
        .. Of<V1StatefulSet>().Select(w => new Workload("StatefulSet", w.Metadata.Name, w.Spec.Replicas ?? 1, w.Spec.Selector, w.Spec.Template, w.Spec.ServiceName, w.Spec.VolumeClaimTemplates ?? [])),
        .. Of<V1DaemonSet>().Select(w => new Workload("DaemonSet", w.Metadata.Name, 1, w.Spec.Selector, w.Spec.Template, null, [])),
        .. Of<V1Deployment>().Select(w => new Workload("Deployment", w.Metadata.Name, w.Spec.Replicas ?? 1, w.Spec.Selector, w.Spec.Template, null, [])),
    ];

    /// <summary>Every container of every workload that stays; those of <c>ephemeralfs</c> itself have a role.</summary>
    public IEnumerable<(Workload Workload, V1Container Container)> Containers => Workloads.SelectMany(w => w.Template.Spec.Containers.Select(c => (w, c)));

    /// <summary>These, and those that run before them.</summary>
    public IEnumerable<(Workload Workload, V1Container Container)> AllContainers =>
        Containers.Concat(Workloads.SelectMany(w => (w.Template.Spec.InitContainers ?? []).Select(c => (w, c))));

    /// <summary>The tiers of the storage servers.</summary>
    public IEnumerable<Tier> Tiers =>
        from pair in Containers
        where pair.Container.Args?[0] == "storage"
        from argument in pair.Container.Args
        where argument.StartsWith("--tier=", StringComparison.Ordinal)
        select new Tier(pair.Workload, pair.Container, argument.Split('=')[1], argument.Split('=')[2].Split(':')[0], Bytes(argument.Split(':')[^1]));

    public IEnumerable<T> Of<T>() => All.OfType<T>();

    public static string Root { get; } = FindRoot();

    /// <summary>Renders an overlay.</summary>
    public static Manifests Render(string overlay)
    {
        var (code, output, error) = Run("kubectl", "kustomize", Path.Combine(Root, "deploy", "csi", "overlays", overlay));
        Assert.True(code == 0 && error.Length == 0, $"kubectl kustomize (package kubectl): exit code {code}\n{error}");
        return new Manifests(output);
    }

    /// <summary>Reads a file.</summary>
    public static Manifests Read(string path) => new(File.ReadAllText(path));

    /// <summary>The bytes of a quantity or of a size of ours: 10Gi, 10G.</summary>
    public static decimal Bytes(string size) => SizeOfOurs().Match(size) is { Success: true } ours
        ? decimal.Parse(ours.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture) * (1L << (10 * ("KMGT".IndexOf(ours.Groups[2].Value, StringComparison.Ordinal) + 1)))
        : new ResourceQuantity(size).ToDecimal();

    /// <summary>Runs a program to its end, at most a minute.</summary>
    public static (int? Code, string Output, string Error) Run(string program, params string[] arguments) => Run(TimeSpan.FromMinutes(1), program, arguments);

    /// <summary>Runs a program to its end; the code is null when that did not come.</summary>
    public static (int? Code, string Output, string Error) Run(TimeSpan patience, string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        using var process = Process.Start(start) ?? throw new InvalidOperationException($"{program} does not start");
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(patience))
        {
            process.Kill(entireProcessTree: true);
            process.WaitForExit();
            return (null, output.Result, error.Result);
        }

        return (process.ExitCode, output.Result, error.Result);
    }

    private static string FindRoot()
    {
        var root = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(root, "EphemeralFs.sln")))
        {
            root = Path.GetDirectoryName(root) ?? throw new InvalidOperationException($"no EphemeralFs.sln above {AppContext.BaseDirectory}");
        }

        return root;
    }

    [GeneratedRegex("^([0-9]+)([KMGT])$")]
    private static partial Regex SizeOfOurs();
}

/// <summary>A StatefulSet, DaemonSet or Deployment.</summary>
internal sealed record Workload(
    string Kind, string Name, int Replicas, V1LabelSelector Selector, V1PodTemplateSpec Template, string? ServiceName, IList<V1PersistentVolumeClaim> Claims)
{
    public override string ToString() => $"{Kind} {Name}";
}

/// <summary>A tier of a storage server: <c>--tier=CLASS=PATH:SIZE</c>.</summary>
internal sealed record Tier(Workload Workload, V1Container Container, string Class, string Path, decimal Bytes);

/// <summary>An option of a container's arguments: <c>--name=value</c>, or a switch without a value.</summary>
internal static class Arguments
{
    public static string? Option(this V1Container container, string name) =>
        container.Args?.FirstOrDefault(a => a.StartsWith($"--{name}=", StringComparison.Ordinal))?[(name.Length + 3)..];

    public static bool IsOurs(this V1Container container) => container.Image.Split('/')[^1].StartsWith("ephemeralfs:", StringComparison.Ordinal);
}

// Of the kinds that are no part of Kubernetes, what we use.
#pragma warning disable CA1812 // the YAML reader makes them
internal class OtherObject
{
    public string ApiVersion { get; set; } = "";

    public string Kind { get; set; } = "";

    public V1ObjectMeta Metadata { get; set; } = new();
}

internal sealed class VolumeSnapshotClass : OtherObject
{
    public string Driver { get; set; } = "";

    public string DeletionPolicy { get; set; } = "";
}

internal sealed class VolumeSnapshot : OtherObject
{
    public SnapshotSpec Spec { get; set; } = new();

    internal sealed class SnapshotSpec
    {
        public string VolumeSnapshotClassName { get; set; } = "";

        public SnapshotSource Source { get; set; } = new();
    }

    internal sealed class SnapshotSource
    {
        public string PersistentVolumeClaimName { get; set; } = "";
    }
}

internal sealed class VolumeGroupSnapshot : OtherObject
{
    public GroupSpec Spec { get; set; } = new();

    internal sealed class GroupSpec
    {
        public string VolumeGroupSnapshotClassName { get; set; } = "";

        public GroupSource Source { get; set; } = new();
    }

    internal sealed class GroupSource
    {
        public V1LabelSelector Selector { get; set; } = new();
    }
}

internal sealed class KnativeService : OtherObject
{
    public ServiceSpec Spec { get; set; } = new();

    internal sealed class ServiceSpec
    {
        public V1PodTemplateSpec Template { get; set; } = new();
    }
}

internal sealed class FissionEnvironment : OtherObject
{
    public EnvironmentSpec Spec { get; set; } = new();

    internal sealed class EnvironmentSpec
    {
        public int Version { get; set; }

        public int Poolsize { get; set; }

        public RuntimeSpec Runtime { get; set; } = new();
    }

    internal sealed class RuntimeSpec
    {
        public string Image { get; set; } = "";

        public V1PodSpec Podspec { get; set; } = new();
    }
}
#pragma warning restore CA1812
