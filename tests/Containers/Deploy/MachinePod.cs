using System.Globalization;
using EphemeralFs.Tests.Integration.Deploy;
using k8s.Models;

namespace EphemeralFs.Tests.Containers.Deploy;

/// <summary>
/// A pod on a machine, with what kubelet and the runtime make for it: directories, memory, a service account, containers (kubelet: pkg/volume). Containers of other
/// images than ours are left out; volumes of CSI drivers are mounted by <see cref="MachineKubelet"/>.
/// </summary>
internal sealed class MachinePod
{
    /// <summary>Kubelet's directory.</summary>
    public const string Kubelet = "/var/lib/kubelet";

    private const int InitSeconds = 60;

    /// <summary>What the startup probes allow.</summary>
    private const int ReadyMs = 120_000;

    private const int BetweenProbesMs = 50;

    /// <summary>What the API gives to pods that do not say.</summary>
    private const int GraceSeconds = 30;

    private readonly Machine machine;
    private readonly ApiServer api;
    private readonly List<MachineContainer> before;

    /// <param name="machine">Where it is.</param>
    /// <param name="api">Whose account it has.</param>
    /// <param name="image">Of its containers.</param>
    /// <param name="spec">With an address and the name of the node.</param>
    /// <param name="hosts">What is mounted at /etc/hosts.</param>
    public MachinePod(Machine machine, ApiServer api, OciImage image, V1Pod spec, string hosts)
    {
        (this.machine, this.api, Spec) = (machine, api, spec);
        var config = new OciConfig(image, spec);
        MachineContainer make(V1Container container)
        {
            string id = $"{spec.Metadata.Name}-{container.Name}";
            return new MachineContainer(machine, id, image, config.Of(container, SourceOf, hosts, $"{machine.Cgroup}/{id}"));
        }
        before = [.. (spec.Spec.InitContainers ?? []).Select(make)];
        Container = make(Main);
    }

    public V1Pod Spec { get; }

    /// <summary>The container of our image.</summary>
    public MachineContainer Container { get; }

    private V1Container Main => Spec.Spec.Containers.Single(container => container.IsOurs());

    private IEnumerable<V1Volume> Volumes => Spec.Spec.Volumes ?? [];

    private string VolumesDirectory => $"{Kubelet}/pods/{Spec.Metadata.Uid}/volumes";

    /// <summary>Where the machine has a volume.</summary>
    public string SourceOf(V1Volume volume) => volume switch
    {
        { HostPath: { } hostPath } => hostPath.Path,
        { EmptyDir: not null } => $"{VolumesDirectory}/kubernetes.io~empty-dir/{volume.Name}",
        { Projected: not null } => $"{VolumesDirectory}/kubernetes.io~projected/{volume.Name}",
        _ => $"{VolumesDirectory}/kubernetes.io~csi/{volume.Name}/mount",
    };

    /// <summary>The same, as a path of ours.</summary>
    public string this[string volume] => machine.Outside(SourceOf(Volumes.Single(v => v.Name == volume)));

    /// <summary>Makes its directories, runs what runs before it, and starts it.</summary>
    public void Start()
    {
        foreach (var volume in Volumes)
        {
            MakeVolume(volume, SourceOf(volume));
        }
        foreach (var container in before)
        {
            container.Start();
            container.End(InitSeconds).MustSucceed();
        }
        Container.Start();
    }

    /// <summary>Waits until the manifest's own probes succeed: startup, readiness, and, once, that it lives.</summary>
    public void UntilReady()
    {
        long start = Environment.TickCount64;
        foreach (var probe in new[] { Main.StartupProbe, Main.ReadinessProbe, Main.LivenessProbe }.OfType<V1Probe>())
        {
            while (!Succeeds(probe))
            {
                Container.MustRun();
                if (Environment.TickCount64 - start > ReadyMs)
                {
                    Container.Signal("KILL");
                    Assert.Fail($"{Spec.Metadata.Name} is not ready: {Container.End(GraceSeconds).Describe()}");
                }
                Thread.Sleep(BetweenProbesMs); // only paces the asking
            }
        }
    }

    /// <summary>Kubelet deletes a pod: SIGTERM, after which it has to end by itself, and well.</summary>
    public void Delete()
    {
        Container.Signal("TERM");
        Container.End((int)(Spec.Spec.TerminationGracePeriodSeconds ?? GraceSeconds)).MustSucceed();
        RemoveVolumes();
    }

    /// <summary>Takes away what a pod had whose containers have ended. Its directories go by rmdir(2), as kubelet's: nothing that somebody has left there goes with them.</summary>
    public void RemoveVolumes()
    {
        foreach (var volume in Volumes.Where(volume => volume.EmptyDir is not null || volume.Projected is not null))
        {
            if (volume.EmptyDir?.Medium == "Memory")
            {
                machine.Run("umount", SourceOf(volume));
            }
            Directory.Delete(this[volume.Name], recursive: true);
        }
        string directory = machine.Outside(VolumesDirectory);
        if (Directory.Exists(directory))
        {
            Array.ForEach([.. Directory.GetDirectories(directory), directory, Path.GetDirectoryName(directory)!], Directory.Delete);
        }
    }

    private bool Succeeds(V1Probe probe) => probe.HttpGet is { } get
        ? machine.Answers(Spec.Status.PodIP, Main.Ports.Single(port => port.Name == get.Port.Value).ContainerPort, get.Path)
        : Container.Execute([.. probe.Exec.Command]).ExitCode == 0;

    private void MakeVolume(V1Volume volume, string path)
    {
        string outside = machine.Outside(path);
        switch (volume)
        {
            case { HostPath.Type: "DirectoryOrCreate" }:
                Directory.CreateDirectory(outside, (UnixFileMode)0b111_101_101);
                break;
            case { HostPath.Type: "Directory" }:
                Assert.True(Directory.Exists(outside), $"hostPath type check failed: {path} is not a directory ({Spec.Metadata.Name})");
                break;
            case { HostPath: not null }:
                throw new NotSupportedException($"hostPath of type '{volume.HostPath.Type}'");
            case { EmptyDir: { } empty }:
                Directory.CreateDirectory(outside);
                if (empty.Medium == "Memory")
                {
                    machine.Run("mount", "-t", "tmpfs", "-o", $"size={empty.SizeLimit.ToInt64()}", "tmpfs", path);
                }
                Give(path, toGroup: "2777", otherwise: "0777");
                break;
            case { Projected: not null }:
                Directory.CreateDirectory(outside);
                File.WriteAllText(Path.Combine(outside, "ca.crt"), api.Certificate);
                File.WriteAllText(Path.Combine(outside, "token"), api.Token);
                Give(Path.Combine(path, "token"), toGroup: "0640", otherwise: "0600");
                break;
        }
    }

    /// <summary>To the pod's group, if it has one.</summary>
    private void Give(string path, string toGroup, string otherwise) => machine.Run(
        "/bin/sh", "-ec", "chgrp \"$1\" \"$3\"; chmod \"$2\" \"$3\"", "give",
        (Spec.Spec.SecurityContext?.FsGroup ?? 0).ToString(CultureInfo.InvariantCulture), Spec.Spec.SecurityContext?.FsGroup is null ? otherwise : toGroup, path);
}
