using System.Text.RegularExpressions;
using k8s.Models;

namespace EphemeralFs.Tests.Integration.Deploy;

/// <summary>The manifests of <c>examples/pods</c> are valid, and use what the deployment offers.</summary>
public sealed class ExamplePodTests
{
    private static readonly string s_folder = Path.Combine(Manifests.Root, "examples", "pods");

    public static TheoryData<string> Examples => [.. Directory.EnumerateFiles(s_folder, "*.yaml").Select(p => Path.GetFileName(p)!).Order()];

    [Theory]
    [MemberData(nameof(Examples))]
    public void It_is_valid_and_uses_what_there_is(string name)
    {
        var manifests = Manifests.Read(Path.Combine(s_folder, name));
        Assert.NotEmpty(manifests.All);
        var offered = Manifests.Render(OverlayOf(name));
        var classes = offered.Of<V1StorageClass>().ToDictionary(c => c.Metadata.Name);

        IEnumerable<V1PodSpec> pods =
        [
            .. manifests.Of<V1Pod>().Select(p => p.Spec),
            .. manifests.Of<V1Job>().Select(j => j.Spec.Template.Spec),
            .. manifests.Of<KnativeService>().Select(s => s.Spec.Template.Spec),
            .. manifests.Of<FissionEnvironment>().Select(e => e.Spec.Runtime.Podspec),
        ];
        foreach (var pod in pods)
        {
            Assert.Equal(pod.Volumes.Select(v => v.Name).Order(), pod.Containers.SelectMany(c => c.VolumeMounts).Select(m => m.Name).Distinct().Order());
            Assert.All(pod.Containers, c => Assert.Matches(":v?[0-9.]+$", c.Image));
            Assert.All(pod.Volumes.Where(v => v.Csi is not null), v => Assert.Equal("csi.ephemeralfs.io", v.Csi.Driver));
            Assert.All(pod.Volumes.Where(v => v.Csi is not null), v => Assert.InRange(Manifests.Bytes(v.Csi.VolumeAttributes["size"]), 1, Room(v.Csi.VolumeAttributes.TryGetValue("tier", out var tier) ? tier : null)));
            Assert.All(
                pod.Volumes.Where(v => v.PersistentVolumeClaim is not null),
                v => Assert.Contains(manifests.Of<V1PersistentVolumeClaim>(), c => c.Metadata.Name == v.PersistentVolumeClaim.ClaimName));
        }

        // A claim for which the scheduler finds no room stays Pending.
        Assert.All(
            manifests.Of<V1PersistentVolumeClaim>().Select(c => c.Spec).Concat(pods.SelectMany(p => p.Volumes).Where(v => v.Ephemeral is not null).Select(v => v.Ephemeral.VolumeClaimTemplate.Spec)),
            claim =>
            {
                var known = Assert.Contains(claim.StorageClassName, (IDictionary<string, V1StorageClass>)classes);
                Assert.InRange(claim.Resources.Requests["storage"].ToDecimal(), 1, Room(known.Parameters?["tier"]));
            });
        Assert.All(manifests.Of<VolumeSnapshot>(), s => Assert.Contains(offered.Of<VolumeSnapshotClass>(), c => (c.Kind, c.Metadata.Name) == ("VolumeSnapshotClass", s.Spec.VolumeSnapshotClassName)));
        Assert.All(manifests.Of<VolumeGroupSnapshot>(), s => Assert.Contains(offered.Of<VolumeSnapshotClass>(), c => (c.Kind, c.Metadata.Name) == ("VolumeGroupSnapshotClass", s.Spec.VolumeGroupSnapshotClassName)));
        Assert.All(
            manifests.Of<VolumeGroupSnapshot>(),
            s => Assert.All(s.Spec.Source.Selector.MatchLabels, label => Assert.Contains(
                Manifests.Read(Path.Combine(s_folder, "shared-job.yaml")).Of<V1PersistentVolumeClaim>(),
                c => c.Metadata.Labels.Contains(label))));
        Assert.All(manifests.Of<V1VolumeAttributesClass>(), c => Assert.Equal("csi.ephemeralfs.io", c.DriverName));
        Assert.All(
            manifests.Of<V1MutatingAdmissionPolicyBinding>(),
            b => Assert.Contains(manifests.Of<V1MutatingAdmissionPolicy>(), p => p.Metadata.Name == b.Spec.PolicyName));

        decimal Room(string? tier) => offered.Tiers.Where(t => tier is null || t.Class == tier).Sum(t => t.Bytes * t.Workload.Replicas);
    }

    [Fact]
    public void What_the_guide_says_of_room_and_classes_is_so()
    {
        var (guide, offered) = (Guide(), Manifests.Render(OverlayOfGuide()));
        Assert.Contains($"room for {offered.Tiers.Sum(t => t.Bytes) / (1 << 30):0} GiB", guide, StringComparison.Ordinal);
        Assert.All(offered.Of<V1StorageClass>(), c => Assert.Contains($"`{c.Metadata.Name}`", guide, StringComparison.Ordinal));
        Assert.All(offered.Tiers.Where(t => t.Class == "dram"), t => Assert.Contains($"(up to {t.Bytes / (1 << 30):0} GiB)", guide, StringComparison.Ordinal));
    }

    [Fact]
    public void The_guide_names_every_example() => Assert.All(
        Directory.EnumerateFiles(s_folder, "*.yaml"),
        path => Assert.Contains(Path.GetFileName(path), File.ReadAllText(Path.Combine(s_folder, "README.md")), StringComparison.Ordinal));

    private static string Guide() => File.ReadAllText(Path.Combine(Manifests.Root, "deploy", "csi", "README.md"));

    /// <summary>The overlay that a newcomer installs.</summary>
    private static string OverlayOfGuide() => Regex.Match(Guide(), "^kubectl apply -k deploy/csi/overlays/([a-z-]+)$", RegexOptions.Multiline).Groups[1].Value;

    /// <summary>The overlay that an example is for: what its first lines name, else the guide's.</summary>
    private static string OverlayOf(string example) =>
        Regex.Match(File.ReadAllText(Path.Combine(s_folder, example)), @"\(overlays/([a-z-]+)\)") is { Success: true } named ? named.Groups[1].Value : OverlayOfGuide();
}
