using EphemeralFs.Tests.Containers.Kubernetes;
using EphemeralFs.Tests.Containers.Oci;
using EphemeralFs.Tests.Mount;

namespace EphemeralFs.Tests.Containers;

/// <summary>Whose the files of a pod are: the group of its volumes, and ids in a user namespace.</summary>
[Collection(KubernetesCollection.Name)]
public sealed class OwnerTests(KubernetesCluster kubernetes)
{
    [Fact]
    public async Task Files_belong_to_the_group_of_the_pod()
    {
        await using var pod = await kubernetes.First.StartAsync(new Pod("group", new InlineVolume("tmp")) { FsGroup = 2000 });
        var options = new ContainerOptions(new ContainerMount(pod["tmp"])) { User = 1000, Group = 1000, FsGroup = 2000 };
        Container.Script(kubernetes.Home, options, 60, """
            cd /tmp
            echo mine >file
            mkdir directory && echo mine >directory/file
            stat -c '%u %g' file directory directory/file | sort -u | grep -x '1000 2000'
            """).MustSucceed();

        // Another container of the pod, with another user: the group lets it in.
        Container.Script(kubernetes.Home, options with { User = 1001, Group = 1001 }, 60, "cd /tmp; grep -x mine file; echo more >other; mv other third; ls").MustSucceed();
        Assert.Equal("1000 2000", Owner(pod["tmp"], "directory/file"));
    }

    [Fact]
    public async Task A_user_namespace_shows_its_own_ids_and_they_are_what_is_kept()
    {
        var volume = await kubernetes.Provisioner.MakeAsync("mapped", "RWX", 1 << 30);
        await using (var inside = await kubernetes.First.StartAsync(new Pod("inside", new ClaimVolume("data", volume))))
        await using (var plain = await kubernetes.Second.StartAsync(new Pod("plain", new ClaimVolume("data", volume))))
        {
            var mapped = new ContainerOptions(new ContainerMount(inside["data"]) { IdMapped = true }) { UserNamespace = true };
            Container.Script(kubernetes.Home, mapped with { User = 0, Group = 0 }, 60, """
                grep -q ' 200000 ' /proc/self/uid_map
                cd /tmp
                echo root >root; chmod 640 root
                mkdir directory; chmod 1777 directory
                fallocate -l 1M directory/large
                stat -c '%u %g %a' root | grep -x '0 0 640'
                """).MustSucceed();
            Container.Script(kubernetes.Home, mapped, 60, """
                cd /tmp/directory
                echo user >user; chmod 600 user
                ln user hard; ln -s user soft; mv hard moved
                truncate -s 1M user; fallocate -p -o 4096 -l 4096 user
                stat -c '%u %g %a' user moved | sort -u | grep -x '1000 1000 600'
                stat -c '%u %g' soft large | tr '\n' ' ' | grep -x '1000 1000 0 0 '
                if cat ../root 2>/dev/null; then echo 'not the owner'; exit 1; fi
                if rm -f large 2>/dev/null; then echo 'the directory is sticky'; exit 1; fi
                """).MustSucceed();

            // Root of the namespace, with the rights that Kubernetes gives to root in a container.
            Container.Script(kubernetes.Home, mapped with { User = 0, Group = 0, Capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"] }, 60, """
                cd /tmp/directory
                head -c 5 user | grep -x user
                echo given >given; chown 1000:100 given; chmod 604 given
                stat -c '%u %g %a' given | grep -x '1000 100 604'
                install -o 7 -g 8 -m 640 given owned
                stat -c '%u %g %a' owned | grep -x '7 8 640'
                if chown 70000 given 2>/dev/null; then echo 'an id that is not in the namespace'; exit 1; fi
                cp -a user copied; stat -c '%u %g %a' copied | grep -x '1000 1000 600'; rm copied
                """).MustSucceed();
            Assert.Equal("1000 100", Owner(inside["data"], "directory/given"));
            Assert.Equal("7 8", Owner(inside["data"], "directory/owned"));

            // On the node, and in a container without a user namespace on another node, the ids are those of inside, not 200000 and more.
            Assert.Equal("0 0", Owner(inside["data"], "root"));
            Assert.Equal("0 0", Owner(inside["data"], "directory/large"));
            Assert.Equal("1000 1000", Owner(inside["data"], "directory/user"));
            Container.Script(kubernetes.Home, new ContainerOptions(new ContainerMount(plain["data"])), 60, """
                cd /tmp
                stat -c '%u %g' root directory/user | tr '\n' ' ' | grep -x '0 0 1000 1000 '
                echo more >>directory/user
                echo plain >directory/plain
                """).MustSucceed();
            Container.Script(kubernetes.Home, mapped, 60, "stat -c '%u %g' /tmp/directory/plain | grep -x '1000 1000'; echo more >>/tmp/directory/plain").MustSucceed();
        }
        await kubernetes.Provisioner.DeleteAsync(volume);
    }

    [Fact]
    public async Task The_group_of_the_pod_counts_in_a_user_namespace()
    {
        await using var pod = await kubernetes.First.StartAsync(new Pod("group", new InlineVolume("tmp")) { FsGroup = 2000 });
        var options = new ContainerOptions(new ContainerMount(pod["tmp"]) { IdMapped = true }) { UserNamespace = true, FsGroup = 2000 };
        Container.Script(kubernetes.Home, options, 60, "cd /tmp; mkdir directory; echo mine >directory/file; stat -c '%u %g' directory/file | grep -x '1000 2000'").MustSucceed();
        Container.Script(kubernetes.Home, options with { User = 1001, Group = 1001 }, 60, "cd /tmp; grep -x mine directory/file; echo more >other").MustSucceed();
        Assert.Equal("1000 2000", Owner(pod["tmp"], "directory/file"));
        Assert.Equal("1001 2000", Owner(pod["tmp"], "other"));
    }

    /// <summary>User and group as this machine's kernel has them.</summary>
    private static string Owner(string directory, string file) => new Command(directory, 20, "/usr/bin/stat", "-c", "%u %g", file).Run().MustSucceed().Trim();
}
