using System.Text.RegularExpressions;
using k8s.Models;

namespace EphemeralFs.Tests.Integration.Deploy;

/// <summary>What <c>kubectl kustomize</c> makes of the overlays fits together, fits the program, and asks for no more rights than are listed here.</summary>
public sealed partial class OverlayTests
{
    private const string Driver = "csi.ephemeralfs.io";

    public static TheoryData<string> Overlays => [.. s_overlays];

    private static readonly string[] s_overlays = ["single-node", "production"];

    private static readonly string[] s_tiers = ["dram", "nvme", "ssd", "hdd"];

    /// <summary>Who may have what, and why; nobody else may.</summary>
    private static readonly string[] s_privileged = ["node"]; // mounts, with Bidirectional propagation, which the API admits to no other
    private static readonly string[] s_hostPid = ["node", "keeper"]; // the keeper watches and ends daemons of another pod
    private static readonly string[] s_root = ["node", "keeper", "csi-node"]; // files and sockets of the host are root's
    private static readonly string[] s_rootContainers = ["csi-node/csi", "keeper/keeper", "node/node"];
    private static readonly string[] s_owners = ["controller/own", "metadata/own", "storage/own"]; // give directories of the node to a server that is not root
    private static readonly string[] s_unlimited = ["node"]; // see the comment there
    private static readonly string[] s_withToken = ["csi-controller"]; // the sidecars watch the API

    private static readonly string[] s_verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];

    /// <summary>
    /// What the sidecars need of the API in these versions (deploy/kubernetes/rbac.yaml of each), without what is for drivers that attach
    /// (volumeattachments), have secrets, or cannot grow volumes in use (pods).
    /// </summary>
    private static readonly Dictionary<string, string> s_rights = new(StringComparer.Ordinal)
    {
        ["persistentvolumes"] = "create delete get list patch watch",
        ["persistentvolumeclaims"] = "get list update watch",
        ["persistentvolumeclaims/status"] = "patch",
        ["events"] = "create list patch update watch",
        ["nodes"] = "get list watch",
        ["storage.k8s.io/storageclasses"] = "get list watch",
        ["storage.k8s.io/csinodes"] = "get list watch",
        ["storage.k8s.io/volumeattributesclasses"] = "get list watch",

        // In the namespace of the pod.
        ["coordination.k8s.io/leases here"] = "create delete get list update watch",
        ["storage.k8s.io/csistoragecapacities here"] = "create delete get list patch update watch",
        ["pods here"] = "get",
        ["apps/replicasets here"] = "get",
    };

    private static readonly Dictionary<string, string> s_snapshotRights = new(StringComparer.Ordinal)
    {
        ["snapshot.storage.k8s.io/volumesnapshots"] = "get list update watch",
        ["snapshot.storage.k8s.io/volumesnapshotclasses"] = "get list watch",
        ["snapshot.storage.k8s.io/volumesnapshotcontents"] = "get list patch update watch",
        ["snapshot.storage.k8s.io/volumesnapshotcontents/status"] = "patch update",
        ["groupsnapshot.storage.k8s.io/volumegroupsnapshotclasses"] = "get list watch",
        ["groupsnapshot.storage.k8s.io/volumegroupsnapshotcontents"] = "get list patch update watch",
        ["groupsnapshot.storage.k8s.io/volumegroupsnapshotcontents/status"] = "patch update",
    };

    /// <summary>Since when a sidecar does by itself what is asked of it, and its feature gates that are still off by default.</summary>
    private static readonly Dictionary<string, (Version Since, string[] Gates)> s_sidecars = new(StringComparer.Ordinal)
    {
        ["csi-provisioner"] = (new(6, 0), []), // VolumeAttributesClass v1
        ["csi-resizer"] = (new(2, 0), []), // the same
        ["csi-snapshotter"] = (new(8, 6), ["CSIVolumeGroupSnapshot=true"]), // VolumeGroupSnapshot v1
    };

    /// <summary>Directories that each kubelet makes for itself.</summary>
    private static readonly string[] s_kubeletHas = ["/var/lib/kubelet", "/var/lib/kubelet/pods", "/var/lib/kubelet/plugins_registry"];

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
        Assert.Equal(["ephemeralfs", .. manifests.Tiers.Select(t => "ephemeralfs-" + t.Class).Distinct().Order()], classes.Select(c => c.Metadata.Name).Order());
        string[] keys = ["inodes", "tier", "concurrency", "throughput", "latencySensitive", "lifetime", "copies"];
        Assert.All(classes.SelectMany(c => c.Parameters ?? new Dictionary<string, string>()), p => Assert.Contains(p.Key, keys));
        Assert.All(classes, c => Assert.Equal(c.Metadata.Name == "ephemeralfs" ? null : c.Metadata.Name[12..], c.Parameters?["tier"]));
        Assert.All(classes, c => Assert.Equal("WaitForFirstConsumer", c.VolumeBindingMode));
        Assert.True(driver.Spec.StorageCapacity); // so that a class without a server would keep pods waiting, and for ever
        Assert.All(manifests.Of<VolumeSnapshotClass>(), c => Assert.Equal(Driver, c.Driver));

        // Every object that can be is in our namespace.
        Assert.All(
            manifests.All.OfType<k8s.IKubernetesObject<V1ObjectMeta>>().Where(o => o is V1StatefulSet or V1DaemonSet or V1Deployment or V1Service or V1Role or V1RoleBinding or V1ServiceAccount or V1NetworkPolicy or V1PodDisruptionBudget),
            o => Assert.Equal("ephemeralfs", o.Metadata.NamespaceProperty));
    }

    [Fact]
    public void A_class_is_the_same_in_each_overlay()
    {
        var classes = s_overlays.SelectMany(o => Manifests.Render(o).Of<V1StorageClass>().Where(c => c.Provisioner == Driver)).ToList();
        Assert.All(
            classes.GroupBy(c => c.Metadata.Name),
            same => Assert.Single(same.Select(c => string.Join(' ', (c.Parameters ?? new Dictionary<string, string>()).Select(p => $"{p.Key}={p.Value}").Append(c.ReclaimPolicy))).Distinct()));
    }

    [Theory]
    [MemberData(nameof(Overlays))]
    public void Containers_have_a_version_resources_and_probes(string overlay)
    {
        var manifests = Manifests.Render(overlay);
        Assert.All(manifests.AllContainers, pair =>
        {
            var (workload, container) = pair;
            Assert.Matches("^[^:]+:v?[0-9]+[.][0-9.]+$", container.Image);
            Assert.Contains("cpu", container.Resources.Requests);
            Assert.Contains("memory", container.Resources.Requests);
            Assert.Equal(!s_unlimited.Contains(workload.Name), container.Resources.Limits?.ContainsKey("memory") == true);
        });
        Assert.All(manifests.Containers, pair =>
        {
            var (workload, container) = pair;
            V1Probe?[] probes = [container.StartupProbe, container.ReadinessProbe, container.LivenessProbe];
            Assert.Contains(probes, p => p is not null);
            Assert.All(probes.OfType<V1Probe>().Where(p => p.HttpGet is not null), p => Assert.Contains(container.Ports, port => port.Name == p.HttpGet.Port.Value));

            // What it says it serves is what it is told to serve.
            var ports = (container.Ports ?? []).Select(p => p.ContainerPort).Order();
            string?[] served = [container.Option("listen"), container.Option("metrics"), container.Option("http-endpoint")];
            Assert.Equal(served.OfType<string>().Where(a => !a.StartsWith("unix:", StringComparison.Ordinal)).Select(a => int.Parse(a.Split(':')[^1], System.Globalization.CultureInfo.InvariantCulture)).Order(), ports);
        });
    }

    /// <summary>A process that answers is not killed because something that it depends on is away; it is not ready then.</summary>
    [Theory]
    [MemberData(nameof(Overlays))]
    public void Probes_ask_what_they_are_for(string overlay)
    {
        Assert.All(Manifests.Render(overlay).Containers, pair =>
        {
            var (workload, container) = pair;
            var killing = new[] { container.StartupProbe, container.LivenessProbe }.OfType<V1Probe>().ToList();
            if (!container.IsOurs())
            {
                // Whether its leader fails to renew the lease. A sidecar leaves by itself when the driver's socket closes.
                // Until the driver is ready it does not serve at all, so that it has to be given time to.
                Assert.All(killing, p => Assert.Equal("/healthz/leader-election", p.HttpGet.Path));
                Assert.True(container.StartupProbe.PeriodSeconds * container.StartupProbe.FailureThreshold >= 600);
            }
            else if (workload.Name == "keeper")
            {
                Assert.Empty(killing);
                Assert.NotNull(container.ReadinessProbe.Exec);
            }
            else
            {
                Assert.NotNull(container.LivenessProbe);
                Assert.All(killing, p => Assert.Equal("/livez", p.HttpGet.Path));
                Assert.Equal("/healthz", container.ReadinessProbe.HttpGet.Path);
            }
        });
    }

    [Theory]
    [MemberData(nameof(Overlays))]
    public void Sidecars_can_do_what_is_asked_of_them(string overlay)
    {
        var manifests = Manifests.Render(overlay);
        var sidecars = manifests.Containers.Where(c => !c.Container.IsOurs()).Select(c => c.Container).ToList();
        Assert.Equal(overlay == "production" ? 3 : 2, sidecars.Count);
        Assert.All(sidecars, sidecar =>
        {
            var parts = sidecar.Image.Split('/')[^1].Split(":v");
            var (since, gates) = s_sidecars[parts[0]];
            Assert.True(Version.Parse(parts[1]) >= since, sidecar.Image);
            Assert.Equal(string.Join(',', gates), sidecar.Option("feature-gates") ?? "");
        });

        // Rights of the service account that they share, all in all.
        var expected = overlay == "production" ? s_rights.Concat(s_snapshotRights) : s_rights;
        Assert.Equal(
            expected.Select(r => $"{r.Key}: {r.Value}").Order(),
            manifests.Of<V1ClusterRole>().SelectMany(r => Rights(r.Rules, "")).Concat(manifests.Of<V1Role>().SelectMany(r => Rights(r.Rules, " here")))
                .GroupBy(r => r.Name, r => r.Verb)
                .Select(r => $"{r.Key}: {string.Join(' ', r.Distinct().Order())}")
                .Order());
        Assert.Equal(overlay == "production", manifests.Of<VolumeSnapshotClass>().Any(c => c.Kind == "VolumeGroupSnapshotClass"));
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

        // Critical pods outside of kube-system need a quota that says so (the admission plug-in ResourceQuota with limitedResources, as on GKE).
        Assert.Contains(manifests.Of<V1ResourceQuota>(), quota => quota.Spec.ScopeSelector.MatchExpressions.Any(e => e.ScopeName == "PriorityClass" && e.Values.Contains("system-node-critical")));
        Assert.All(manifests.Of<V1PodDisruptionBudget>(), budget => Assert.Contains(manifests.Workloads, w => Matches(budget.Spec.Selector.MatchLabels, w.Template.Metadata.Labels)));
        Assert.All(manifests.Of<V1ClusterRoleBinding>(), b => Assert.Contains(manifests.Of<V1ClusterRole>(), r => r.Metadata.Name == b.RoleRef.Name));
        Assert.All(manifests.Of<V1RoleBinding>(), b => Assert.Contains(manifests.Of<V1Role>(), r => r.Metadata.Name == b.RoleRef.Name));
        Assert.All(
            manifests.Of<V1ClusterRoleBinding>().SelectMany(b => b.Subjects).Concat(manifests.Of<V1RoleBinding>().SelectMany(b => b.Subjects)),
            s => Assert.Contains(manifests.Of<V1ServiceAccount>(), a => (s.Kind, s.Name, s.NamespaceProperty) == ("ServiceAccount", a.Metadata.Name, a.Metadata.NamespaceProperty)));
    }

    /// <summary>The user that a container really runs as: its own, else the pod's, else the image's.</summary>
    [Theory]
    [MemberData(nameof(Overlays))]
    public void Who_needs_root_is_root_and_nobody_else(string overlay)
    {
        var containerfile = File.ReadAllText(Path.Combine(Manifests.Root, "deploy", "csi", "image", "Containerfile"));
        var image = long.Parse(Regex.Match(containerfile, "^USER ([0-9]+)", RegexOptions.Multiline).Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture);
        Assert.NotEqual(0, image);
        List<string> root = [];
        Assert.All(Manifests.Render(overlay).AllContainers, pair =>
        {
            var (own, pod) = (pair.Container.SecurityContext, pair.Workload.Template.Spec.SecurityContext);
            var user = own.RunAsUser ?? pod?.RunAsUser ?? (pair.Container.IsOurs() ? image : null);
            Assert.NotNull(user); // who knows what other images have
            if (user == 0)
            {
                root.Add($"{pair.Workload.Name}/{pair.Container.Name}");
                Assert.NotEqual(true, own.RunAsNonRoot ?? pod?.RunAsNonRoot); // the kubelet would refuse it
            }

            Assert.True(user == 0 || own.Privileged != true, $"{pair.Workload}: privileged, and without root's capabilities");
        });
        Assert.Equal(overlay == "production" ? s_rootContainers : s_rootContainers.Concat(s_owners).Order(), root.Order());
    }

    /// <summary>Of its host a pod sees what it needs, and what is not there on a new node is made: by the kubelet, or by the program.</summary>
    [Theory]
    [MemberData(nameof(Overlays))]
    public void Directories_of_the_node_are_few_and_made(string overlay)
    {
        Dictionary<string, string> expected = new(StringComparer.Ordinal)
        {
            ["keeper"] = "/var/lib/ephemeralfs/node",
            ["node"] = "/var/lib/ephemeralfs/node /var/lib/kubelet",
            ["csi-node"] = "/var/lib/ephemeralfs/node /var/lib/kubelet/plugins /var/lib/kubelet/plugins_registry /var/lib/kubelet/pods",
        };
        if (overlay == "single-node")
        {
            expected["controller"] = "/var/lib/ephemeralfs/servers/controller";
            expected["metadata"] = "/var/lib/ephemeralfs/servers/metadata";
            expected["storage"] = "/var/lib/ephemeralfs/servers/ssd";
        }

        Assert.All(Manifests.Render(overlay).Workloads, workload =>
        {
            var pod = workload.Template.Spec;
            var directories = pod.Volumes.Where(v => v.HostPath is not null).ToList();
            Assert.Equal(expected.GetValueOrDefault(workload.Name, ""), string.Join(' ', directories.Select(d => d.HostPath.Path).Order(StringComparer.Ordinal)));
            Assert.All(directories, d => Assert.True(
                d.HostPath.Type == "DirectoryOrCreate" || (d.HostPath.Type == "Directory" && s_kubeletHas.Contains(d.HostPath.Path)),
                $"{workload}: who makes {d.HostPath.Path}?"));

            // They have no label for pods; a privileged container has the one that may everything.
            var labels = pod.Containers.Select(c => (c.SecurityContext.SeLinuxOptions ?? pod.SecurityContext?.SeLinuxOptions)?.Type ?? (c.SecurityContext.Privileged == true ? "spc_t" : null)).Distinct();
            Assert.Equal([directories.Count > 0 ? "spc_t" : null], labels);

            // A socket's directory: mounted itself, or the last component is missing, in a directory that may be written.
            foreach (var container in pod.Containers)
            {
                var sockets = new[] { "endpoint", "listen", "socket" }.Select(o => container.Option(o)?.Replace("unix:", "", StringComparison.Ordinal)).OfType<string>().Where(p => p.StartsWith('/'));
                Assert.All(sockets, path =>
                {
                    var directory = Path.GetDirectoryName(path)!;
                    var mount = Assert.Single(container.VolumeMounts, m => m.MountPath == directory || m.MountPath == Path.GetDirectoryName(directory));
                    Assert.NotEqual(true, mount.ReadOnlyProperty);
                });
            }
        });
    }

    /// <summary>A pod that is deleted, or replaced by one of a new version, comes back with its state.</summary>
    [Theory]
    [MemberData(nameof(Overlays))]
    public void State_outlives_pods(string overlay)
    {
        var manifests = Manifests.Render(overlay);
        List<string> states = [];
        Assert.All(manifests.Workloads.Where(w => w.Kind == "StatefulSet"), workload =>
        {
            var pod = workload.Template.Spec;
            var container = Assert.Single(pod.Containers);
            string[] kept = container.Args[0] == "storage"
                ? [.. manifests.Tiers.Where(t => t.Workload.Name == workload.Name && t.Class != "dram").Select(t => t.Path)]
                : [container.Option("state")!];
            foreach (var mount in kept.Select(path => Assert.Single(container.VolumeMounts, m => m.MountPath == path)))
            {
                var volume = pod.Volumes?.SingleOrDefault(v => v.Name == mount.Name);
                Assert.True(volume?.HostPath is not null || workload.Claims.Any(c => c.Metadata.Name == mount.Name), $"{workload}: {mount.MountPath} goes with the pod");
                if (volume?.HostPath is { } directory)
                {
                    states.Add(directory.Path);
                    Assert.Equal(1, workload.Replicas); // two would share it

                    // Before the server comes its directory, and nothing else, is given to it.
                    var owner = Assert.Single(pod.InitContainers);
                    Assert.Equal(mount.Name, Assert.Single(owner.VolumeMounts).Name);
                    Assert.Equal(owner.Command[^1], owner.VolumeMounts[0].MountPath);
                    Assert.Equal(["install", "-d", "-m", "0700", "-o", $"{pod.SecurityContext.RunAsUser}", "-g", $"{pod.SecurityContext.RunAsGroup}"], owner.Command.SkipLast(1));
                }
            }

            // Memory does go with the pod, so nobody but a person deletes it.
            var dram = manifests.Tiers.Any(t => t.Workload.Name == workload.Name && t.Class == "dram");
            Assert.Equal(dram, manifests.Of<V1StatefulSet>().Single(s => s.Metadata.Name == workload.Name).Spec.UpdateStrategy?.Type == "OnDelete");
        });
        Assert.Equal(states.Distinct(), states);
        Assert.Equal(overlay == "single-node" ? 3 : 0, states.Count);
    }

    [Theory]
    [MemberData(nameof(Overlays))]
    public void Nobody_has_rights_without_a_reason(string overlay)
    {
        var manifests = Manifests.Render(overlay);
        Assert.Equal(s_privileged, manifests.AllContainers.Where(c => c.Container.SecurityContext.Privileged == true).Select(c => c.Workload.Name));
        Assert.All(manifests.Workloads, workload =>
        {
            var pod = workload.Template.Spec;
            Assert.Equal(s_hostPid.Contains(workload.Name), pod.HostPID == true);
            Assert.NotEqual(true, pod.HostNetwork);
            Assert.NotEqual(true, pod.HostIPC);
            Assert.Equal(s_root.Contains(workload.Name), pod.SecurityContext?.RunAsNonRoot != true);
            Assert.Equal(s_withToken.Contains(workload.Name), pod.AutomountServiceAccountToken != false);

            // Kubernetes names a variable after each service, and ours takes variables with its name for options.
            Assert.False(pod.EnableServiceLinks);
        });
        Assert.All(manifests.AllContainers, pair =>
        {
            var context = pair.Container.SecurityContext;
            Assert.True(context.ReadOnlyRootFilesystem);
            if (context.Privileged != true)
            {
                Assert.False(context.AllowPrivilegeEscalation);
                Assert.Equal(["ALL"], context.Capabilities.Drop);
                Assert.Equal(s_owners.Contains($"{pair.Workload.Name}/{pair.Container.Name}") ? ["CHOWN", "FOWNER"] : [], context.Capabilities.Add ?? []);
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

        // A directory of the host has in these pods the name that it has on the host, so that paths can be told from one to another.
        foreach (var workload in manifests.Workloads.Where(w => w.Kind == "DaemonSet"))
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

    /// <summary>What a container calls other than the program is in the smallest image that <see cref="ImageTests"/> builds.</summary>
    [Theory]
    [MemberData(nameof(Overlays))]
    public void Commands_are_in_the_image(string overlay)
    {
        var commands = Manifests.Render(overlay).AllContainers.Where(c => c.Container.IsOurs())
            .SelectMany(c => new[] { c.Container.Command, c.Container.StartupProbe?.Exec?.Command, c.Container.ReadinessProbe?.Exec?.Command, c.Container.LivenessProbe?.Exec?.Command })
            .OfType<IList<string>>().Select(c => c[0]).Distinct().Order();
        Assert.Equal(overlay == "production" ? ["test"] : ["install", "test"], commands);
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
        var tiers = Manifests.Render(overlay).Tiers.ToList();
        Assert.All(tiers, tier =>
        {
            var (workload, resources) = (tier.Workload, tier.Container.Resources);
            var mount = Assert.Single(tier.Container.VolumeMounts, m => m.MountPath == tier.Path);
            var volume = workload.Template.Spec.Volumes.SingleOrDefault(v => v.Name == mount.Name);
            if (volume?.HostPath is null) // of a directory of the node nobody knows the size
            {
                var room = volume?.EmptyDir.SizeLimit ?? workload.Claims.Single(c => c.Metadata.Name == mount.Name).Spec.Resources.Requests["storage"];
                Assert.True(room.ToDecimal() > tier.Bytes, $"{workload}: {tier.Path} in {room}");
            }

            Assert.Equal(tier.Class == "dram", volume?.EmptyDir?.Medium == "Memory");
            if (tier.Class == "dram")
            {
                Assert.True(resources.Limits["memory"].ToDecimal() > volume!.EmptyDir.SizeLimit.ToDecimal() + (512 << 20), $"{workload}: no memory beside {tier.Path}");
                Assert.True(resources.Requests["memory"].ToDecimal() >= tier.Bytes, $"{workload}: {tier.Path} is not requested");
            }
        });
        Assert.Equal(overlay == "production" ? s_tiers : ["dram", "ssd"], tiers.Select(t => t.Class).OrderBy(t => Array.IndexOf(s_tiers, t)));
    }

    private static IEnumerable<(string Name, string Verb)> Rights(IEnumerable<V1PolicyRule> rules, string suffix) =>
        from rule in rules
        from apiGroup in rule.ApiGroups
        from resource in rule.Resources
        from verb in rule.Verbs
        select ((apiGroup.Length == 0 ? resource : $"{apiGroup}/{resource}") + suffix, verb);

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
