using System.Text.RegularExpressions;
using k8s.Models;

namespace EphemeralFs.Tests.Integration.Deploy;

/// <summary>What <c>kubectl kustomize</c> makes of the overlays fits together, fits the program, and asks for no more rights than are listed here.</summary>
public sealed partial class OverlayTests
{
    private const string Driver = "csi.ephemeralfs.io";

    public static TheoryData<string> Overlays => ["single-node", "production"];

    private static readonly string[] s_tiers = ["dram", "nvme", "ssd", "hdd"];

    /// <summary>Who may have what, and why; nobody else may.</summary>
    private static readonly string[] s_privileged = ["node"]; // mounts, with Bidirectional propagation, which the API admits to no other
    private static readonly string[] s_hostPid = ["node", "keeper"]; // the keeper watches and ends daemons of another pod
    private static readonly string[] s_root = ["node", "keeper", "csi-node"]; // files and sockets of the host are root's
    private static readonly string[] s_unlimited = ["node"]; // see the comment there
    private static readonly string[] s_withToken = ["csi-controller"]; // the sidecars watch the API

    private static readonly string[] s_verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];

    [Theory]
    [MemberData(nameof(Overlays))]
    public void Everything_is_there(string overlay)
    {
        var manifests = Manifests.Render(overlay);
        Assert.Equal(
            ["controller", "csi-controller", "csi-node", "keeper", "metadata", "node", "storage"],
            manifests.Workloads.Select(w => w.Template.Metadata.Labels["app.kubernetes.io/component"]).Distinct().Order());
        var driver = Assert.Single(manifests.Of<V1CSIDriver>());
        Assert.Equal(Driver, driver.Metadata.Name);
        Assert.Equal(["Ephemeral", "Persistent"], driver.Spec.VolumeLifecycleModes.Order());
        Assert.Equal("OnDelete", manifests.Of<V1DaemonSet>().Single(d => d.Metadata.Name == "keeper").Spec.UpdateStrategy.Type);
        var classes = manifests.Of<V1StorageClass>().Where(c => c.Provisioner == Driver).ToList();
        Assert.Equal(["ephemeralfs", .. s_tiers.Select(t => "ephemeralfs-" + t).Order()], classes.Select(c => c.Metadata.Name).Order());
        string[] keys = ["inodes", "tier", "concurrency", "throughput", "latencySensitive", "lifetime", "copies"];
        Assert.All(classes.SelectMany(c => c.Parameters ?? new Dictionary<string, string>()), p => Assert.Contains(p.Key, keys));
        Assert.All(classes, c => Assert.Equal(c.Metadata.Name == "ephemeralfs" ? null : c.Metadata.Name[12..], c.Parameters?["tier"]));
        Assert.All(manifests.Of<VolumeSnapshotClass>(), c => Assert.Equal(Driver, c.Driver));

        // Every object that can be is in our namespace.
        Assert.All(
            manifests.All.OfType<k8s.IKubernetesObject<V1ObjectMeta>>().Where(o => o is V1StatefulSet or V1DaemonSet or V1Deployment or V1Service or V1Role or V1RoleBinding or V1ServiceAccount or V1NetworkPolicy or V1PodDisruptionBudget),
            o => Assert.Equal("ephemeralfs", o.Metadata.NamespaceProperty));
    }

    [Theory]
    [MemberData(nameof(Overlays))]
    public void Containers_have_a_version_resources_and_probes(string overlay)
    {
        var manifests = Manifests.Render(overlay);
        Assert.All(manifests.Containers, pair =>
        {
            var (workload, container) = pair;
            Assert.Matches("^[^:]+:v?[0-9]+[.][0-9.]+$", container.Image);
            Assert.Contains("cpu", container.Resources.Requests);
            Assert.Contains("memory", container.Resources.Requests);
            Assert.Equal(!s_unlimited.Contains(workload.Name), container.Resources.Limits?.ContainsKey("memory") == true);
            V1Probe?[] probes = [container.StartupProbe, container.ReadinessProbe, container.LivenessProbe];
            Assert.Contains(probes, p => p is not null);
            Assert.All(probes.OfType<V1Probe>().Where(p => p.HttpGet is not null), p => Assert.Contains(container.Ports, port => port.Name == p.HttpGet.Port.Value));

            // What it says it serves is what it is told to serve.
            var ports = (container.Ports ?? []).Select(p => p.ContainerPort).Order();
            string?[] served = [container.Option("listen"), container.Option("metrics"), container.Option("http-endpoint")];
            Assert.Equal(served.OfType<string>().Where(a => !a.StartsWith("unix:", StringComparison.Ordinal)).Select(a => int.Parse(a.Split(':')[^1], System.Globalization.CultureInfo.InvariantCulture)).Order(), ports);
        });
    }

    [Theory]
    [MemberData(nameof(Overlays))]
    public void What_is_named_exists(string overlay)
    {
        var manifests = Manifests.Render(overlay);
        Assert.All(manifests.Workloads, workload =>
        {
            var (pod, labels) = (workload.Template.Spec, workload.Template.Metadata.Labels);
            Assert.True(Matches(workload.Selector.MatchLabels, labels));
            Assert.Single(manifests.Workloads, other => Matches(workload.Selector.MatchLabels, other.Template.Metadata.Labels));
            Assert.True(pod.PriorityClassName.StartsWith("system-", StringComparison.Ordinal) || manifests.Of<V1PriorityClass>().Any(c => c.Metadata.Name == pod.PriorityClassName));
            Assert.True(pod.ServiceAccountName is null || manifests.Of<V1ServiceAccount>().Any(a => a.Metadata.Name == pod.ServiceAccountName));
            Assert.True(workload.ServiceName is null || manifests.Of<V1Service>().Any(s => s.Metadata.Name == workload.ServiceName));
            var volumes = (pod.Volumes ?? []).Select(v => v.Name).Concat(workload.Claims.Select(c => c.Metadata.Name)).ToList();
            Assert.Equal(volumes.Distinct(), volumes);
            Assert.Equal(volumes.Order(), pod.Containers.SelectMany(c => c.VolumeMounts ?? []).Select(m => m.Name).Distinct().Order());
            Assert.All(workload.Claims.Where(c => c.Spec.StorageClassName is not null), c => Assert.Contains(manifests.Of<V1StorageClass>(), s => s.Metadata.Name == c.Spec.StorageClassName));

            // A variable that is not set stays as it is written.
            Assert.All(pod.Containers, c => Assert.All((c.Args ?? []).SelectMany(a => Variable().Matches(a)), v => Assert.Contains(c.Env, e => e.Name == v.Groups[1].Value)));
        });
        Assert.All(manifests.Of<V1Service>(), service => Assert.Contains(manifests.Workloads, w => Serves(service, w)));
        Assert.All(manifests.Of<V1PodDisruptionBudget>(), budget => Assert.Contains(manifests.Workloads, w => Matches(budget.Spec.Selector.MatchLabels, w.Template.Metadata.Labels)));
        Assert.All(manifests.Of<V1ClusterRoleBinding>(), b => Assert.Contains(manifests.Of<V1ClusterRole>(), r => r.Metadata.Name == b.RoleRef.Name));
        Assert.All(manifests.Of<V1RoleBinding>(), b => Assert.Contains(manifests.Of<V1Role>(), r => r.Metadata.Name == b.RoleRef.Name));
        Assert.All(
            manifests.Of<V1ClusterRoleBinding>().SelectMany(b => b.Subjects).Concat(manifests.Of<V1RoleBinding>().SelectMany(b => b.Subjects)),
            s => Assert.Contains(manifests.Of<V1ServiceAccount>(), a => (s.Kind, s.Name, s.NamespaceProperty) == ("ServiceAccount", a.Metadata.Name, a.Metadata.NamespaceProperty)));
    }

    [Theory]
    [MemberData(nameof(Overlays))]
    public void Nobody_has_rights_without_a_reason(string overlay)
    {
        var manifests = Manifests.Render(overlay);
        Assert.Equal(s_privileged, manifests.Containers.Where(c => c.Container.SecurityContext.Privileged == true).Select(c => c.Workload.Name));
        Assert.All(manifests.Workloads, workload =>
        {
            var pod = workload.Template.Spec;
            Assert.Equal(s_hostPid.Contains(workload.Name), pod.HostPID == true);
            Assert.NotEqual(true, pod.HostNetwork);
            Assert.NotEqual(true, pod.HostIPC);
            Assert.Equal(s_root.Contains(workload.Name), pod.SecurityContext?.RunAsNonRoot != true);
            Assert.Equal(s_root.Contains(workload.Name), pod.Volumes.Any(v => v.HostPath is not null));
            Assert.Equal(s_withToken.Contains(workload.Name), pod.AutomountServiceAccountToken != false);

            // Kubernetes names a variable after each service, and ours takes variables with its name for options.
            Assert.False(pod.EnableServiceLinks);
        });
        Assert.All(manifests.Containers, pair =>
        {
            var context = pair.Container.SecurityContext;
            Assert.True(context.ReadOnlyRootFilesystem);
            if (context.Privileged != true)
            {
                Assert.False(context.AllowPrivilegeEscalation);
                Assert.Equal(["ALL"], context.Capabilities.Drop);
                Assert.Null(context.Capabilities.Add);
                Assert.Equal("RuntimeDefault", (context.SeccompProfile ?? pair.Workload.Template.Spec.SecurityContext.SeccompProfile).Type);
            }
        });
        Assert.All(manifests.Of<V1ClusterRole>().SelectMany(r => r.Rules).Concat(manifests.Of<V1Role>().SelectMany(r => r.Rules)), rule =>
        {
            Assert.All(rule.Verbs, v => Assert.Contains(v, s_verbs));
            Assert.All([.. rule.ApiGroups, .. rule.Resources], word => Assert.DoesNotContain('*', word));
            Assert.DoesNotContain("secrets", rule.Resources);
        });
    }

    [Theory]
    [MemberData(nameof(Overlays))]
    public void The_program_takes_the_arguments(string overlay)
    {
        foreach (var (workload, container) in Manifests.Render(overlay).Containers.Where(c => c.Container.IsOurs()))
        {
            // With an address of another machine, and every path where nothing can be: it gets past its command line, and fails at that (1, not 2).
            var arguments = container.Args
                .Select(a => a.Replace("$(POD_IP)", "192.0.2.1", StringComparison.Ordinal).Replace("$(POD_NAME)", workload.Name + "-0", StringComparison.Ordinal).Replace("$(NODE_NAME)", "worker-1.example", StringComparison.Ordinal))
                .Select(a => PathStart().Replace(a, "/dev/null/"));
            var (code, _, error) = Manifests.Run(Program, [.. arguments]);
            Assert.True(code is 1 or null, $"{workload}: {string.Join(' ', container.Args)}: exit code {code}\n{error}");
        }
    }

    [Theory]
    [MemberData(nameof(Overlays))]
    public void Pods_of_a_node_mean_the_same_paths(string overlay)
    {
        var manifests = Manifests.Render(overlay);
        V1Container Of(string name) => manifests.Workloads.Single(w => w.Name == name).Template.Spec.Containers[0];
        Assert.Equal(Of("keeper").Option("socket"), Of("node").Option("keeper"));
        Assert.Equal(Of("node").Option("listen"), "unix:" + Of("csi-node").Option("node-socket"));
        Assert.Equal($"unix:{Of("csi-node").Option("kubelet")}/plugins/{Driver}/csi.sock", Of("csi-node").Option("endpoint"));

        // A directory of the host has in a pod the name that it has on the host, so that paths can be told from one to another.
        foreach (var workload in manifests.Workloads)
        {
            var paths = workload.Template.Spec.Volumes.Where(v => v.HostPath is not null).ToDictionary(v => v.Name, v => v.HostPath.Path);
            Assert.All(workload.Template.Spec.Containers.SelectMany(c => c.VolumeMounts).Where(m => paths.ContainsKey(m.Name)), m => Assert.Equal(paths[m.Name], m.MountPath));
        }

        // Every path in an argument is on a volume, since the root is read-only; and the sidecars use the socket that is served.
        Assert.All(manifests.Containers, pair => Assert.All(
            (pair.Container.Args ?? []).Select(a => Regex.Match(a, "(?<==|:)/[^:]+").Value).Where(p => p.Length > 0 && p != "/var/lib/kubelet"),
            path => Assert.Contains(pair.Container.VolumeMounts, m => path == m.MountPath || path.StartsWith(m.MountPath + "/", StringComparison.Ordinal))));
        var sidecars = manifests.Containers.Where(c => c.Container.Option("csi-address") is not null).ToList();
        Assert.NotEmpty(sidecars);
        Assert.All(sidecars, s => Assert.Equal(Of("csi-controller").Option("endpoint") ?? Endpoint(s.Workload), "unix:" + s.Container.Option("csi-address")));

        static string? Endpoint(Workload workload) => workload.Template.Spec.Containers.Single(c => c.IsOurs()).Option("endpoint");
    }

    [Theory]
    [MemberData(nameof(Overlays))]
    public void Roles_find_each_other(string overlay)
    {
        var manifests = Manifests.Render(overlay);
        foreach (var (workload, container) in manifests.Containers.Where(c => c.Container.IsOurs()))
        {
            foreach (var address in new[] { container.Option("controller"), container.Option("controller-address"), container.Option("advertise") }.OfType<string>())
            {
                for (var i = 0; i < workload.Replicas; i++)
                {
                    var parts = address.Replace("$(POD_NAME)", $"{workload.Name}-{i}", StringComparison.Ordinal).Split(':');
                    var service = Assert.Single(manifests.Of<V1Service>(), s => s.Metadata.Name == parts[1]);
                    Assert.Contains(service.Spec.Ports, p => p.Port.ToString(System.Globalization.CultureInfo.InvariantCulture) == parts[2]);
                    Assert.NotEqual("None", service.Spec.ClusterIP); // an address that stays
                }
            }
        }

        foreach (var policy in manifests.Of<V1NetworkPolicy>().Where(p => p.Spec.PodSelector.MatchLabels is not null))
        {
            var target = Assert.Single(manifests.Workloads.GroupBy(w => w.Template.Metadata.Labels["app.kubernetes.io/component"]), g => g.Key == policy.Spec.PodSelector.MatchLabels["app.kubernetes.io/component"]);
            Assert.All(policy.Spec.Ingress ?? [], rule =>
            {
                Assert.All(rule.FromProperty.SelectMany(f => f.PodSelector.MatchExpressions).SelectMany(e => e.Values), from => Assert.Contains(manifests.Workloads, w => w.Template.Metadata.Labels["app.kubernetes.io/component"] == from));
                Assert.All(rule.Ports, port => Assert.All(target, w => Assert.Contains(w.Template.Spec.Containers.SelectMany(c => c.Ports), p => p.ContainerPort.ToString(System.Globalization.CultureInfo.InvariantCulture) == port.Port.Value)));
            });
        }
    }

    [Theory]
    [MemberData(nameof(Overlays))]
    public void Tiers_fit_into_what_they_stand_on(string overlay)
    {
        var tiers = 0;
        foreach (var (workload, container) in Manifests.Render(overlay).Containers.Where(c => c.Container.Args?[0] == "storage"))
        {
            foreach (var tier in container.Args.Where(a => a.StartsWith("--tier=", StringComparison.Ordinal)))
            {
                tiers++;
                var (kind, path, size) = (tier.Split('=')[1], tier.Split('=')[2].Split(':')[0], Manifests.Bytes(tier.Split(':')[^1]));
                Assert.Contains(kind, s_tiers);
                var mount = Assert.Single(container.VolumeMounts, m => m.MountPath == path);
                var empty = workload.Template.Spec.Volumes.SingleOrDefault(v => v.Name == mount.Name)?.EmptyDir;
                var room = empty?.SizeLimit ?? workload.Claims.Single(c => c.Metadata.Name == mount.Name).Spec.Resources.Requests["storage"];
                Assert.True(room.ToDecimal() > size, $"{workload}: {tier} in {room}");
                Assert.Equal(kind == "dram", empty?.Medium == "Memory");
                if (kind == "dram")
                {
                    Assert.True(container.Resources.Limits["memory"].ToDecimal() > empty!.SizeLimit.ToDecimal() + (512 << 20), $"{workload}: no memory beside {tier}");
                    Assert.True(container.Resources.Requests["memory"].ToDecimal() >= size, $"{workload}: {tier} is not requested");
                }
            }
        }

        Assert.Equal(overlay == "production" ? 4 : 2, tiers);
    }

    private static string Program => Path.Combine(Manifests.Root, "ephemeralfs");

    private static bool Matches(IDictionary<string, string> selector, IDictionary<string, string> labels) => selector.All(s => labels.TryGetValue(s.Key, out var value) && value == s.Value);

    private static bool Serves(V1Service service, Workload workload) =>
        service.Spec.Selector.TryGetValue("statefulset.kubernetes.io/pod-name", out var pod)
            ? Enumerable.Range(0, workload.Replicas).Any(i => pod == $"{workload.Name}-{i}")
            : Matches(service.Spec.Selector, workload.Template.Metadata.Labels) && service.Spec.Ports.All(p => workload.Template.Spec.Containers.SelectMany(c => c.Ports ?? []).Any(c => c.Name == p.TargetPort.Value));

    [GeneratedRegex(@"\$\(([A-Z_]+)\)")]
    private static partial Regex Variable();

    [GeneratedRegex("(?<==|:)/")]
    private static partial Regex PathStart();
}
