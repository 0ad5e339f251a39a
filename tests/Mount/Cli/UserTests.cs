using EphemeralFs.Tests.Mount.Programs;

namespace EphemeralFs.Tests.Mount.Cli;

/// <summary>What a user without privileges, and a machine without FUSE, get. Each has <c>/dev</c> of its own, in a mount namespace.</summary>
public sealed class UserTests
{
    /// <summary>Nobody: fusermount3 wants a user that has a name.</summary>
    private const string User = "65534";

    /// <summary>Becomes <c>"$@"</c> without privileges.</summary>
    private const string AsUser = $"exec setpriv --reuid={User} --regid={User} --clear-groups -- \"$@\"";

    [Fact]
    public void Another_user_has_no_access_to_a_cluster()
    {
        using var cli = new CliHome();
        cli.Up();
        InNamespace(cli, AsUser, "status").MustFail(1, "run as the user");
        InNamespace(cli, AsUser, "up", "m").MustFail(1, "--state");
        InNamespace(cli, AsUser, "down").MustFail(1, "run as the user");
        InNamespace(cli, AsUser, "mount", "tmp", "m").MustFail(1);
        InNamespace(cli, AsUser, "umount", "m").MustFail(1);
        InNamespace(cli, AsUser, "volume", "list").MustFail(1, "run as the user");
        Assert.True(cli.Status().GetProperty("healthy").GetBoolean());
    }

    [Fact]
    public void Without_a_place_for_its_state_a_user_is_told_to_name_one()
    {
        using var cli = new CliHome();
        InNamespace(cli, $"export EPHEMERALFS_STATE=; unset XDG_RUNTIME_DIR; {AsUser}", "up", "m").MustFail(2, "--state");
        InNamespace(cli, AsUser, "up", "m").MustFail(1, "--state");
        cli.NothingRemains();
    }

    [Fact]
    public void A_user_mounts_with_fusermount3_or_is_told_what_is_missing()
    {
        Tool.Find("fusermount3");
        using var cli = new CliHome();
        string mine = cli.MakeDirectory("mine"), mount = cli.MakeDirectory("mine/m");
        Command.Script(cli.Home, 10, $"chown -R {User}:{User} mine").MustSucceed();
        string[] up = ["up", mount, "--detach", "--capacity", "512M", "--state", mine + "/s"];

        InNamespace(cli, $"{Device} chmod 600 /dev/fuse; {AsUser}", up).MustFail(1, "chmod 666 /dev/fuse");
        Assert.Equal([mount], Directory.GetFileSystemEntries(mine));

        // As distributions have the device. All of it in one namespace, and nothing remains in that either.
        var used = InNamespace(
            cli,
            $$"""
            {{Device}} chmod 666 /dev/fuse
            user() { setpriv --reuid={{User}} --regid={{User}} --clear-groups -- "$@"; }
            program=$1; shift
            user "$program" "$@"
            user sh -c 'echo mine > {{mount}}/f; cat {{mount}}/f'
            grep {{mount}} /proc/self/mountinfo | grep -c fuse.ephemeralfs
            user "$program" status --state {{mine}}/s | grep -c 'ok'
            user "$program" down --state {{mine}}/s
            ! grep {{mount}} /proc/self/mountinfo
            """,
            up).MustSucceed();
        Assert.Contains("\nmine\n1\n", used, StringComparison.Ordinal);
        Assert.Equal([mount], Directory.GetFileSystemEntries(mine));
        Assert.Empty(Directory.GetFileSystemEntries(mount));
    }

    [Fact]
    public void A_machine_without_fuse_is_told_so()
    {
        using var cli = new CliHome();
        string[] role = ["--controller", "tcp:127.0.0.1:1"];
        foreach (string[] command in new string[][] { ["up", "m"], ["up", "m", "--detach"], ["node", "--listen", "tcp:127.0.0.1:0", .. role] })
        {
            InNamespace(cli, $"{Device} rm /dev/fuse; exec \"$@\"", command).MustFail(1, "/dev/fuse is missing", "modprobe fuse");
        }
        cli.NothingRemains();
    }

    /// <summary>A /dev of the namespace's own, with a fuse device.</summary>
    private const string Device =
        "mkdir dev; mount -t tmpfs none dev; for d in null zero random urandom; do touch dev/$d; mount --bind /dev/$d dev/$d; done; "
        + "mkdir dev/shm; mount --bind /dev/shm dev/shm; mknod dev/fuse c 10 229; mount --move dev /dev; rmdir dev;";

    /// <summary>Runs a shell in a mount namespace of its own, with the program and its arguments as <c>"$@"</c>.</summary>
    private static CliResult InNamespace(CliHome cli, string script, params string[] arguments) =>
        cli.RunAny(["unshare", "--mount", "--propagation", "private", "/bin/bash", "-c", "set -eu\n" + script, "bash", CliHome.Program, .. arguments]);
}
