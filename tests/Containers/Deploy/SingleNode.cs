using System.Globalization;
using System.Text.Json.Nodes;
using EphemeralFs.Tests.Integration.Csi;
using EphemeralFs.Tests.Integration.Deploy;
using EphemeralFs.Tests.Model.Running;
using k8s;
using k8s.Models;

namespace EphemeralFs.Tests.Containers.Deploy;

/// <summary>
/// What <c>kubectl apply -k deploy/csi/overlays/single-node</c> makes, on a machine of its own: each pod as containers of the image. The API server, kubelet, the
/// sidecars and the network are played: addresses of pods stand for services, and /etc/hosts for the name server.
/// </summary>
public sealed class SingleNode : IAsyncLifetime
{
    internal const string NodeName = "worker-1.example";

    /// <summary>What a kubelet has made for itself when pods come.</summary>
    private static readonly string[] s_kubeletHas = [MachinePod.Kubelet, MachinePod.Kubelet + "/pods", MachinePod.Kubelet + "/plugins_registry"];

    private readonly string directory = Directory.CreateTempSubdirectory("efm").FullName;
    private readonly Manifests manifests = Manifests.Render("single-node");
    private readonly Dictionary<string, MachinePod> pods = [];
    private Machine? machine;
    private ApiServer? api;
    private OciImage? image;
    private int made;

    /// <summary>What is installed, in the worst order to start in: each before those that it needs.</summary>
    internal static IReadOnlyList<string> Names { get; } = ["csi-controller", "csi-node", "node", "keeper", "storage", "metadata", "controller"];

    internal Machine Machine => machine!;

    internal MachineKubelet Kubelet { get; private set; } = null!;

    /// <summary>A pod of what is installed, by the name of what makes it.</summary>
    internal MachinePod this[string name] => pods[name];

    private string Hosts => Path.Combine(directory, "hosts");

    /// <summary>Where the controller's plugin serves: a link, for its path is longer than that of a socket may be.</summary>
    private string ControllerSocket => Path.Combine(directory, "csi.sock");

    private string ImageName => manifests.Containers.First(c => c.Container.IsOurs()).Container.Image;

    public async Task InitializeAsync()
    {
        try
        {
            Assert.Equal(manifests.Workloads.Select(workload => (workload.Name, workload.Replicas)).Order(), Names.Select(name => (name, 1)).Order());
            image = OciImage.Build(Directory.CreateDirectory(Path.Combine(directory, "image")).FullName, ImageName);
            machine = new Machine(directory);
            api = new ApiServer(machine, Directory.CreateDirectory(Path.Combine(directory, "api")).FullName);
            foreach (string path in s_kubeletHas)
            {
                Directory.CreateDirectory(machine.Outside(path), (UnixFileMode)0b111_101_000);
            }
            foreach (string name in Names)
            {
                pods[name] = Make(name);
            }
            WriteHosts();
            Assert.All(Names, name => pods[name].Start());
            UntilReady();
            Kubelet = new MachineKubelet(machine, api, manifests, new CsiClient(ControllerSocket));
            Assert.Equal(NodeName, await Kubelet.RegisterAsync());
        }
        catch
        {
            pods.Clear(); // what is wrong with them is told already, and disposing comes in any case
            throw;
        }
    }

    /// <summary>Waits until everything is ready.</summary>
    internal void UntilReady() => Assert.All(Names, name => pods[name].UntilReady());

    /// <summary>A pod is deleted, and what made it makes the next one.</summary>
    internal void Replace(string name)
    {
        pods[name].Delete();
        pods[name] = Make(name);
        WriteHosts();
        pods[name].Start();
        UntilReady();
    }

    /// <summary>A pod of the examples, which runs a script instead of its command.</summary>
    /// <param name="file">Of the example.</param>
    /// <param name="script">For sh.</param>
    /// <param name="tier">Of its volume; null for that which the example says.</param>
    internal MachinePod Example(string file, string script, string? tier = null)
    {
        var pod = Manifests.Read(Path.Combine(Manifests.Root, "examples", "pods", file)).Of<V1Pod>().Single();
        var container = pod.Spec.Containers.Single();
        (container.Image, container.Command) = (ImageName, ["sh", "-euc", script]);
        if (tier is not null)
        {
            var volume = pod.Spec.Volumes.Single();
            volume.Csi?.VolumeAttributes["tier"] = tier;
            volume.Ephemeral?.VolumeClaimTemplate.Metadata = new V1ObjectMeta { Annotations = new Dictionary<string, string> { ["ephemeralfs.io/tier"] = tier } };
        }
        return Place(pod, $"127.0.2.{++made}");
    }

    /// <summary>Names of all volumes, asked for as the guide says.</summary>
    internal string[] Volumes()
    {
        string[] command = [.. image!.Command, "volume", "list", "--controller", "tcp:controller:7001", "--json"];
        return [.. JsonNode.Parse(pods["controller"].Container.Execute(command).MustSucceed())!.AsArray().Select(volume => (string)volume!["name"]!)];
    }

    public Task DisposeAsync()
    {
        try
        {
            foreach (var pod in pods.Values)
            {
                pod.Delete();
            }
        }
        finally
        {
            api?.Dispose();
            machine?.Dispose();
            Scratch.Remove(directory);
        }
        return Task.CompletedTask;
    }

    private MachinePod Make(string name)
    {
        var workload = manifests.Workloads.Single(w => w.Name == name);
        var labels = new Dictionary<string, string>(workload.Template.Metadata.Labels);
        if (workload.Kind == "StatefulSet")
        {
            labels["statefulset.kubernetes.io/pod-name"] = name + "-0";
        }
        var pod = new V1Pod
        {
            Metadata = new V1ObjectMeta { Name = workload.Kind == "StatefulSet" ? name + "-0" : $"{name}-{++made}", NamespaceProperty = "ephemeralfs", Labels = labels },
            Spec = KubernetesJson.Deserialize<V1PodSpec>(KubernetesJson.Serialize(workload.Template.Spec)), // a copy, for this pod
        };
        // A service's own address stays when its pod is replaced; other pods have another one each time.
        bool stays = pods.TryGetValue(name, out var last) && ServicesOf(pod).Any(service => service.Spec.ClusterIP != "None");
        var placed = Place(pod, stays ? last!.Spec.Status.PodIP : $"127.0.1.{++made}");
        if (name == "csi-controller")
        {
            File.Delete(ControllerSocket);
            File.CreateSymbolicLink(ControllerSocket, Path.Combine(placed["socket"], "csi.sock"));
        }
        return placed;
    }

    private MachinePod Place(V1Pod pod, string address)
    {
        pod.Metadata.Uid = Guid.NewGuid().ToString();
        pod.Spec.NodeName = NodeName;
        pod.Status = new V1PodStatus { PodIP = address };
        if (pod.Spec.AutomountServiceAccountToken != false)
        {
            // As the API server's admission does it.
            pod.Spec.Volumes = [.. pod.Spec.Volumes, new V1Volume { Name = "kube-api-access", Projected = new V1ProjectedVolumeSource() }];
            foreach (var container in pod.Spec.Containers)
            {
                container.VolumeMounts = [.. container.VolumeMounts, new V1VolumeMount { Name = "kube-api-access", MountPath = "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnlyProperty = true }];
            }
        }
        return new MachinePod(machine!, api!, image!, pod, Hosts);
    }

    private IEnumerable<V1Service> ServicesOf(V1Pod pod) =>
        manifests.Of<V1Service>().Where(service => service.Spec.Selector.All(label => pod.Metadata.Labels.TryGetValue(label.Key, out var value) && value == label.Value));

    /// <summary>Into the same file, which every container has.</summary>
    private void WriteHosts() => File.WriteAllLines(
        Hosts, ["127.0.0.1 localhost", .. pods.Values.SelectMany(pod => ServicesOf(pod.Spec).Select(service => $"{pod.Spec.Status.PodIP} {service.Metadata.Name}"))]);
}
